import CZlib
import CZstd
import Foundation
import PosternReplay
import Testing

@testable import LogFiles

struct LogFileTests {
    private let folder: URL

    init() throws {
        folder = FileManager.default.temporaryDirectory.appending(path: "postern-logfiles-\(UUID().uuidString.prefix(8))")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    }

    private func write(_ bytes: [UInt8], _ name: String) throws -> String {
        let path = folder.appending(path: name).path
        try Data(bytes).write(to: URL(filePath: path))
        return path
    }

    private func read(_ path: String) throws -> (bytes: [UInt8], consumed: Int64) {
        let stream = try LogFile.file(path).open()
        var bytes: [UInt8] = []
        var steps = 0
        while try stream.read(into: &bytes) {
            steps += 1
            precondition(steps < 100_000)
        }
        return (bytes, stream.consumed)
    }

    private func gzip(_ bytes: [UInt8]) -> [UInt8] {
        var stream = z_stream()
        #expect(deflateInit2_(&stream, 6, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size)) == Z_OK)
        defer { deflateEnd(&stream) }
        var input = bytes
        var output = [UInt8](repeating: 0, count: Int(deflateBound(&stream, UInt(bytes.count))) + 64)
        let count = output.count
        let written = input.withUnsafeMutableBufferPointer { input in
            output.withUnsafeMutableBufferPointer { output in
                stream.next_in = input.baseAddress
                stream.avail_in = UInt32(input.count)
                stream.next_out = output.baseAddress
                stream.avail_out = UInt32(count)
                #expect(deflate(&stream, Z_FINISH) == Z_STREAM_END)
                return count - Int(stream.avail_out)
            }
        }
        return Array(output[..<written])
    }

    private func zstandard(_ bytes: [UInt8]) -> [UInt8] {
        var output = [UInt8](repeating: 0, count: ZSTD_compressBound(bytes.count))
        let written = ZSTD_compress(&output, output.count, bytes, bytes.count, 3)
        #expect(ZSTD_isError(written) == 0)
        return Array(output[..<written])
    }

    /// Larger than a block, and with no pattern that a block could hide.
    private let content: [UInt8] = (0..<200_000).flatMap { Array("line \($0 &* 2_654_435_761 % 1_000_003) of a log\n".utf8) }

    @Test func plain() throws {
        let found = try read(try write(content, "a.log"))
        #expect(found.bytes == content && found.consumed == Int64(content.count))
        #expect(try read(try write([], "empty")).bytes.isEmpty)
        #expect(try read(try write([0x1f], "one")).bytes == [0x1f])
    }

    @Test func compressed() throws {
        for (name, compress) in [("gz", gzip), ("zst", zstandard)] as [(String, ([UInt8]) -> [UInt8])] {
            let packed = compress(content)
            // Whatever the file is called.
            let found = try read(try write(packed, "\(name).whatever"))
            #expect(found.bytes == content && found.consumed == Int64(packed.count), "\(name)")
            // One after another, as `cat a.gz b.gz` leaves them.
            let two = try read(try write(packed + compress(Array("more\n".utf8)), "two-\(name)"))
            #expect(two.bytes == content + Array("more\n".utf8), "\(name)")
            #expect(try read(try write(compress([]), "none-\(name)")).bytes.isEmpty)
        }
    }

    @Test func cutOffOrDamaged() throws {
        for (name, packed) in [("gz", gzip(content)), ("zst", zstandard(content))] {
            for length in [12, 30, packed.count / 2, packed.count - 1] {
                let path = try write(Array(packed.prefix(length)), "cut-\(name)-\(length)")
                let failure = #expect(throws: InputFailure.self, "\(name) \(length)") { try read(path) }
                #expect(failure?.message == "the compressed data is cut off" && failure?.file == path, "\(name) \(length)")
            }
            var spoilt = packed
            for index in stride(from: 40, to: spoilt.count, by: 977) { spoilt[index] ^= 0x55 }
            let path = try write(spoilt, "spoilt-\(name)")
            let failure = #expect(throws: InputFailure.self) { try read(path) }
            #expect(failure?.message.hasPrefix("the compressed data is") == true)
        }
    }

    @Test func whatFollowsAGzipFileIsPassedOver() throws {
        let packed = gzip(Array("a\n".utf8))
        #expect(try read(try write(packed + [0, 0, 0, 0], "padded")).bytes == Array("a\n".utf8))
        #expect(try read(try write(packed + Array("rubbish".utf8), "rubbish")).bytes == Array("a\n".utf8))
    }

    @Test func otherCompressions() throws {
        for (magic, program) in [([0x42, 0x5a, 0x68, 0x39], "bzip2"), ([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0], "xz")] as [([UInt8], String)] {
            let path = try write(magic + [1, 2, 3], program)
            let failure = #expect(throws: InputFailure.self) { try read(path) }
            #expect(failure?.isBadData == true && failure?.message.contains("\(program) -dc") == true)
        }
    }

    @Test func whatIsNotThere() throws {
        #expect(throws: InputFailure(file: "/nowhere/at/all", message: "No such file or directory")) { try LogFile.file("/nowhere/at/all") }
        #expect(throws: InputFailure(file: folder.path, message: "it is a folder")) { try LogFile.file(folder.path) }
    }

    @Test func whatIsKnownOfAFile() throws {
        let path = try write(content, "known")
        let file = try LogFile.file(path)
        #expect(
            file.size == Int64(content.count) && file.isRepeatable
                && abs((file.modified?.milliseconds ?? 0) / 1000 - Int64(Date().timeIntervalSince1970)) < 600)
        // Of a pipe the time now, so that stamps without a year have one.
        let input = try LogFile.file("-")
        #expect(!input.isRepeatable && (input.modified?.milliseconds ?? 0) > 1_577_836_800_000)
    }
}
