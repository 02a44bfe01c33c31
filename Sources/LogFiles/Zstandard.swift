import CZstd

/// RFC 8878, by libzstd: one frame after another.
final class Zstandard: Decompressor {
    // Nil only where memory is out.
    private let stream = ZSTD_createDStream()
    private var input: [UInt8] = []
    private var position = 0
    /// Whether octets of a frame are still to come.
    private(set) var isWithin = false
    /// Whether the decompressor holds more than there was room for.
    private var isFull = false

    deinit { ZSTD_freeDStream(stream) }

    func feed(_ block: [UInt8]) {
        input = block
        position = 0
    }

    func next(into buffer: inout [UInt8]) -> Decompressed {
        guard let stream else { return .failure("libzstd cannot be started") }
        while position < input.count || isFull {
            let start = buffer.count
            buffer += repeatElement(0, count: LogFile.block)
            var result = 0
            var written = 0
            input.withUnsafeBufferPointer { input in
                buffer.withUnsafeMutableBufferPointer { output in
                    var source = ZSTD_inBuffer(src: input.baseAddress, size: input.count, pos: position)
                    var target = ZSTD_outBuffer(dst: output.baseAddress.map { $0 + start }, size: LogFile.block, pos: 0)
                    result = ZSTD_decompressStream(stream, &target, &source)
                    position = source.pos
                    written = target.pos
                }
            }
            buffer.removeLast(LogFile.block - written)
            guard ZSTD_isError(result) == 0 else {
                return .failure("the compressed data is damaged (\(String(cString: ZSTD_getErrorName(result))))")
            }
            isWithin = result != 0
            isFull = written == LogFile.block && isWithin
            if written > 0 { return .octets }
        }
        return .hungry
    }
}
