import Foundation
import PosternControl

/// Calls `body` with the number and the text of each line of a file, or of standard input for `-`.
func readLines(of file: String, _ body: (Int, String) -> Void) throws(ControlFailure) {
    let data = try contents(of: file)
    var number = 0
    for line in data.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false) {
        number += 1
        body(number, String(decoding: line.last == UInt8(ascii: "\r") ? line.dropLast() : line, as: UTF8.self))
    }
}

private func contents(of file: String) throws(ControlFailure) -> Data {
    guard file != "-" else { return (try? FileHandle.standardInput.readToEnd()) ?? Data() }
    func failure(_ words: String) -> ControlFailure { ControlFailure(.noInput, "cannot read \(file): \(words)") }
    guard access(file, R_OK) == 0 else { throw failure(String(cString: strerror(errno))) }
    // Mapped: the text of a large database is read once, from front to back.
    do {
        return try Data(contentsOf: URL(filePath: file), options: .mappedIfSafe)
    } catch {
        throw failure(error.localizedDescription)
    }
}
