import NIOCore

/// The buffer that all connections of one event loop read into, one after the other.
///
/// What is read is consumed or copied before the next read, so one large buffer serves all: reads are few, none of them
/// allocates, and a connection that waits holds no buffer.
final class ReadBuffers {
    /// Octets that one read takes at most.
    let size: Int
    private var spare: ByteBuffer?

    init(size: Int) {
        self.size = size
    }

    fileprivate func take(_ allocator: ByteBufferAllocator) -> ByteBuffer {
        guard var buffer = spare.take() else { return allocator.buffer(capacity: size) }
        buffer.clear()
        return buffer
    }

    /// Whether this came from here: buffers of TLS did not.
    func owns(_ buffer: ByteBuffer) -> Bool { buffer.storageCapacity >= size }

    /// Its octets are needed no more.
    func giveBack(_ buffer: ByteBuffer) {
        if owns(buffer) { spare = buffer }
    }

    func allocator(on loop: any EventLoop) -> some RecvByteBufferAllocator {
        SharedReadAllocator(buffers: NIOLoopBound(self, eventLoop: loop))
    }
}

/// Lends the loop's buffer for each read. NIO keeps the very first one that it is given for as long as the channel lives, so
/// that one is small.
private struct SharedReadAllocator: RecvByteBufferAllocator {
    private static let first = 512

    let buffers: NIOLoopBound<ReadBuffers>
    private var hasRead = false

    init(buffers: NIOLoopBound<ReadBuffers>) {
        self.buffers = buffers
    }

    func buffer(allocator: ByteBufferAllocator) -> ByteBuffer {
        hasRead ? buffers.value.take(allocator) : allocator.buffer(capacity: Self.first)
    }

    /// - Returns: that the next buffer may be another one, always.
    mutating func record(actualReadBytes: Int) -> Bool {
        hasRead = true
        return true
    }
}

/// Buffers that replies and content are gathered in before they leave together. What was written at once is free again.
final class WriteBuffers {
    private static let usual = 1024
    /// Larger ones are not kept.
    private static let largest = 32_768
    /// As many as are filled in one turn: a session's, and its backend's.
    private static let most = 4

    private var spare: [ByteBuffer] = []

    init() { spare.reserveCapacity(Self.most) }

    /// An empty one.
    func take() -> ByteBuffer {
        guard var buffer = spare.popLast() else { return ByteBufferAllocator().buffer(capacity: Self.usual) }
        // Where the socket has not taken all, this makes another one.
        buffer.clear()
        return buffer
    }

    func giveBack(_ buffer: consuming ByteBuffer) {
        if spare.count < Self.most, buffer.storageCapacity <= Self.largest { spare.append(buffer) }
    }
}
