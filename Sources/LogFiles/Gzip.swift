import CZlib

/// RFC 1952, by zlib: one member after another, as rotated logs that were put together have them.
final class Gzip: Decompressor {
    private var stream = z_stream()
    private var input: [UInt8] = []
    private var position = 0
    private var isReady = false
    /// Whether octets of a member are still to come.
    private(set) var isWithin = false
    /// Whether what follows the last member is none: gzip(1) passes over it.
    private var isOver = false

    deinit { if isReady { inflateEnd(&stream) } }

    func feed(_ block: [UInt8]) {
        input = block
        position = 0
    }

    func next(into buffer: inout [UInt8]) -> Decompressed {
        while true {
            guard !isOver, position < input.count else { return .hungry }
            if !isWithin {
                // Between members; padding is of zeros.
                guard input[position] == 0x1f else {
                    isOver = isReady
                    return isOver ? .hungry : .failure("it is no gzip file")
                }
                // 15 bits of window, and 16 for a gzip header (zlib.h, inflateInit2).
                let result =
                    isReady
                    ? inflateReset(&stream) : inflateInit2_(&stream, 31, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size))
                guard result == Z_OK else { return .failure("zlib cannot be started") }
                isReady = true
                isWithin = true
            }
            let start = buffer.count
            buffer += repeatElement(0, count: LogFile.block)
            var result: Int32 = Z_OK
            var left = 0
            input.withUnsafeMutableBufferPointer { input in
                buffer.withUnsafeMutableBufferPointer { output in
                    stream.next_in = input.baseAddress.map { $0 + position }
                    stream.avail_in = UInt32(input.count - position)
                    stream.next_out = output.baseAddress.map { $0 + start }
                    stream.avail_out = UInt32(LogFile.block)
                    result = inflate(&stream, Z_NO_FLUSH)
                    position = input.count - Int(stream.avail_in)
                    left = Int(stream.avail_out)
                }
            }
            buffer.removeLast(left)
            switch result {
            case Z_STREAM_END: isWithin = false
            case Z_OK, Z_BUF_ERROR: break
            default: return .failure("the compressed data is damaged")
            }
            if buffer.count > start { return .octets }
        }
    }
}
