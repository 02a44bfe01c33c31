import Foundation
import PosternCore
import Testing

@testable import PosternServer

@Suite struct SnippetsTests {
    private func postfix(counts: Bool = false, accounts: Bool = false) throws -> [String] {
        let lines = Snippets.postfix(.tcp(try #require(IPAddress("127.0.0.1")), port: 10023), counts: counts, accounts: accounts)
        return lines.split(separator: "\n").map { $0.trimmingPrefix(while: { $0 == " " }) }.map(String.init)
    }

    /// What is charged is charged at the end of a message: without that line limits would count attempts alone.
    @Test func whereLimitsAreOnPostfixAsksAtTheEndOfAMessage() throws {
        #expect(try !postfix().contains { $0.hasPrefix("smtpd_end_of_data_restrictions") })
        let lines = try postfix(counts: true)
        let place = try #require(lines.firstIndex(of: "smtpd_end_of_data_restrictions ="))
        #expect(lines[place + 1].hasPrefix("check_policy_service { inet:127.0.0.1:10023,"))
        #expect(lines.contains { $0.contains("permit_sasl_authenticated, reject_unauth_destination,") })
    }

    /// Whoever has logged in must not be permitted before the service has counted him.
    @Test func whereAccountsHaveLimitsTheServiceStandsBeforeWhatPermitsThem() throws {
        let lines = try postfix(accounts: true)
        let service = try #require(lines.firstIndex { $0.hasPrefix("check_policy_service") })
        let permit = try #require(lines.firstIndex { $0.hasPrefix("permit_sasl_authenticated, reject_unauth_destination") })
        #expect(service < permit)
        #expect(lines.contains("smtpd_end_of_data_restrictions ="))
    }

    /// The page shows what the program prints.
    @Test func theDocumentationHasEximsStatements() throws {
        let page = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../../docs/exim.md").standardizedFileURL
        let text = try String(contentsOf: page, encoding: .utf8)
        let address = ListenAddress.tcp(try #require(IPAddress("127.0.0.1")), port: 10023)
        for question in [Snippets.EximQuestion.rcpt, .data, .endOfMessage] {
            #expect(text.contains("```\n\(Snippets.eximStatements(address, at: question))\n```"), "\(question)")
        }
        #expect(Snippets.exim(address, counts: true).contains("END-OF-MESSAGE") && !Snippets.exim(address).contains("END-OF-MESSAGE"))
    }
}
