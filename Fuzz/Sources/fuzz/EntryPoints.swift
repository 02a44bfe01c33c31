import Checks
import Glibc

/// Which check this process runs. Set once, before the first input.
// libFuzzer calls everything on one thread.
nonisolated(unsafe) private var chosen: Check?

/// Called by libFuzzer before anything else; it passes over options that begin with two hyphens itself.
@_cdecl("LLVMFuzzerInitialize")
public func initialize(
    _ count: UnsafeMutablePointer<CInt>, _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?>
) -> CInt {
    let option = "--check="
    for index in 0..<Int(count.pointee) {
        guard let argument = arguments.pointee?[index].map({ String(cString: $0) }), argument.hasPrefix(option) else { continue }
        chosen = Check(rawValue: String(argument.dropFirst(option.count)))
    }
    if chosen == nil {
        complain("usage: fuzz --check=NAME [options of libFuzzer] CORPUS...\nchecks:\n")
        for check in Check.allCases { complain("  \(check.rawValue)\n") }
        exit(64)
    }
    return 0
}

/// One input.
@_cdecl("LLVMFuzzerTestOneInput")
public func testOneInput(_ bytes: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    chosen?.run(UnsafeRawBufferPointer(start: bytes, count: bytes == nil ? 0 : count))
    return 0
}

private func complain(_ text: String) {
    _ = text.withCString { write(STDERR_FILENO, $0, strlen($0)) }
}
