import Foundation
import Glibc
import IntegrationSupport
import Testing

@testable import PosternServer

struct AtomicFileTests {
    private func write(_ text: String, to path: String) throws {
        let file = try AtomicFile(path)
        try file.write(Array(text.utf8)[...])
        try file.finish()
    }

    @Test func aFileAppearsWhole() throws {
        let folder = try TemporaryFolder("atomic")
        let path = folder.file("list")
        try write("old", to: path)
        do {
            let file = try AtomicFile(path)
            try file.write(Array("new".utf8)[...])
        }
        #expect(folder.read("list") == "old", "given up")
        // Of somebody who was killed; and nothing that a stranger put there is written through.
        let victim = try folder.write("mine", to: "victim")
        #expect(symlink(victim, "\(path).new-\(getpid())") == 0)
        try write("new", to: path)
        #expect(folder.read("list") == "new" && folder.read("victim") == "mine")
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted() == ["list", "victim"])
    }

    @Test func aLinkStaysAndWhereItLeadsIsReplaced() throws {
        let folder = try TemporaryFolder("atomic")
        _ = try folder.write("old", to: "real")
        #expect(symlink(folder.file("real"), folder.file("link")) == 0 && symlink("nowhere", folder.file("dangling")) == 0)
        try write("new", to: folder.file("link"))
        var status = stat()
        #expect(folder.read("real") == "new" && lstat(folder.file("link"), &status) == 0 && status.st_mode & S_IFMT == S_IFLNK)
        #expect(throws: AtomicFile.Failure.self) { try write("new", to: folder.file("dangling")) }
    }

    @Test func whatIsNoFileIsNotReplaced() throws {
        let folder = try TemporaryFolder("atomic")
        let pipe = folder.file("pipe")
        #expect(mkfifo(pipe, 0o600) == 0 && AtomicFile.isOccupied(pipe) && AtomicFile.isOccupied(folder.path))
        for path in [pipe, folder.path] { #expect(throws: AtomicFile.Failure.self) { try write("x", to: path) } }
        #expect(!AtomicFile.isOccupied(folder.file("not-there")))
        var status = stat()
        #expect(stat(pipe, &status) == 0 && status.st_mode & S_IFMT == S_IFIFO)
    }
}
