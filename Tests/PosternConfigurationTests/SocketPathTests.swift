import Foundation
import PosternConfiguration
import Testing

/// A UNIX socket is one, however its path is spelled.
struct SocketPathTests {
    private let folder: String

    init() throws {
        folder = FileManager.default.temporaryDirectory.path + "/postern-\(UUID().uuidString.prefix(8))"
        for name in ["run", "other"] {
            try FileManager.default.createDirectory(atPath: "\(folder)/\(name)", withIntermediateDirectories: true)
        }
        try FileManager.default.createSymbolicLink(atPath: "\(folder)/link", withDestinationPath: "run")
    }

    private func errors(_ first: String, _ second: String) throws -> [String] {
        let text = """
            listeners:
              - { name: a, role: policy, address: "unix:\(first)" }
              - { name: b, role: policy, address: "unix:\(second)" }

            """
        do {
            _ = try ConfigurationLoader.load(text, file: "f")
            return []
        } catch {
            return error.diagnostics.filter { $0.severity == .error }.map(\.message)
        }
    }

    @Test func oneSocketSpelledInAnotherWayIsFound() throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let path = "\(folder)/run/x.sock"
        for other in ["run//x.sock", "./run/x.sock", "run/./x.sock", "other/../run/x.sock", "link/x.sock", "link/../run/x.sock"] {
            let errors = try errors(path, "\(folder)/\(other)")
            #expect(errors == ["listeners[].address: unix:\(folder)/\(other) leads to the socket of the listener in line 2"], "\(other)")
        }
        #expect(try errors(path, path) == ["listeners[].address: unix:\(path) is the address of the listener in line 2"])
        for other in ["run/y.sock", "other/x.sock", "link/y.sock", "run/x.sock/x.sock", "x.sock"] {
            #expect(try errors(path, "\(folder)/\(other)") == [], "\(other)")
        }
    }

    /// Where the folder is not there yet it is the spelling alone that tells.
    @Test func soIsOneInAFolderThatIsNotThereYet() throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        #expect(try errors("\(folder)/link/new/x.sock", "\(folder)/run//new/./x.sock").count == 1)
        #expect(try errors("/nonexistent/a/x.sock", "/nonexistent/b/../a/x.sock").count == 1)
        #expect(try errors("/nonexistent/a/x.sock", "/nonexistent/b/x.sock") == [])
        #expect(try errors("/x.sock", "/../x.sock").count == 1)
    }
}
