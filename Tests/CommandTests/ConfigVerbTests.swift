import Foundation
import PosternConfiguration
import Testing

struct ConfigVerbTests {
    private let place: Workplace

    init() throws {
        place = try Workplace()
    }

    @Test func aGoodFileIsSaidToBeGood() async throws {
        let file = try place.write("hostname: mx1.example.net\n", to: "c.yaml")
        for arguments in [["config", "check", file], ["config", "check", "--config", file]] {
            let outcome = try await place.run(arguments)
            #expect(outcome.code == 0 && outcome.output.contains("is good") && outcome.errors.isEmpty)
        }
        let byVariable = try await place.run(["config", "check"], environment: ["POSTERN_CONFIG": file])
        #expect(byVariable.code == 0 && byVariable.output.hasPrefix(file))
    }

    @Test func aBadFileIs78WithItsLines() async throws {
        let file = try place.write("hostname: mx1.example.net\ngreylsit: 1\nlog: { level: loud }\n", to: "c.yaml")
        let outcome = try await place.run("config", "check", file)
        #expect(outcome.code == 78 && outcome.output.isEmpty)
        let lines = outcome.errors.split(separator: "\n")
        #expect(lines.count == 2 && lines.allSatisfy { $0.hasPrefix(file + ":") })
        #expect(lines.first == "\(file):2:1: unknown key 'greylsit'; did you mean 'greylist'?")
        // Every other verb says the same.
        for verb in [["config", "show"], ["allow", "list"], ["status"], ["serve"]] {
            let other = try await place.run(verb + ["--config", file])
            #expect(other.code == 78 && other.errors == outcome.errors, "\(verb)")
        }
    }

    @Test func checkingAsJSON() async throws {
        let file = try place.write("greylist: { delay: 1s }\n", to: "c.yaml")
        let good = try await place.run("config", "check", "--json", file)
        #expect(good.code == 0 && good.object["ok"] as? Bool == true && good.object["file"] as? String == file)
        let items = good.object["diagnostics"] as? [[String: Any]]
        #expect(items?.count == 1 && items?.first?["severity"] as? String == "warning" && items?.first?["line"] as? Int == 1)
        try place.write("hostname: \"\"\n", to: "c.yaml")
        let bad = try await place.run("config", "check", "--json", file)
        #expect(bad.code == 78 && bad.object["ok"] as? Bool == false && bad.errors.isEmpty)
    }

    @Test func aWarningIsNoError() async throws {
        let file = try place.write("delays: { greeting: 31s }\n", to: "c.yaml")
        let outcome = try await place.run("config", "check", file)
        #expect(outcome.code == 0 && outcome.errors.hasPrefix("\(file):1:21: warning: delays.greeting: "))
    }

    /// Files that are there, and that the daemon would refuse: both say it of the same place, in the same words.
    @Test func authoritiesThatAreNone() async throws {
        let authorities = try place.write("no certificate\n", to: "ca.pem")
        let file = try place.write(
            "data_directory: \(place.path("data"))\nlisteners:\n  - role: gateway\n    address: \"127.0.0.1:0\"\n    backend: \"127.0.0.1:1\"\n    backend_tls: required\n    backend_ca: \(authorities)\n",
            to: "c.yaml")
        let words = "\(file):7:17: listeners[].backend_ca: cannot use the authorities \(authorities): there is no certificate in PEM in it"
        let checked = try await place.run("config", "check", file)
        #expect(checked.code == 78 && checked.errors.hasPrefix(words), "\(checked.errors)")
        let served = try await place.run("serve", "--config", file)
        #expect(served.code == 78 && served.errors.contains(words), "\(served.errors)")
        let json = try await place.run("config", "check", "--json", file)
        #expect(json.code == 78 && json.object["ok"] as? Bool == false)
    }

    @Test func aFileThatIsNotThere() async throws {
        let outcome = try await place.run("config", "check", "nowhere.yaml")
        #expect(outcome.code == 78 && outcome.errors == "nowhere.yaml:1:1: this file cannot be read: No such file or directory\n")
    }

    @Test func whatIsShownIsAConfiguration() async throws {
        let file = try place.write("hostname: mx1.example.net\ngreylist: { mode: shadow, delay: 250ms }\n", to: "c.yaml")
        let shown = try await place.run("config", "show", "--config", file)
        #expect(shown.code == 0)
        let again = try place.write(shown.output, to: "again.yaml")
        #expect(try ConfigurationFile(named: again).load().configuration == ConfigurationFile(named: file).load().configuration)
        #expect(try await place.run("config", "show", "--config", again).output == shown.output)
        let json = try await place.run("config", "show", "--json", "--config", file)
        #expect((json.object["greylist"] as? [String: Any])?["mode"] as? String == "shadow")
    }

    @Test func theReferenceIsTheDocumentation() async throws {
        #expect(try await place.run("config", "reference").output == Parameter.reference)
    }
}
