import PosternEngine
import SPF

extension SPFFinding {
    init(_ outcome: SPFOutcome) {
        self.init(Result(outcome.result), domain: outcome.domain, identifies: outcome.givesIdentity)
    }
}

extension SPFOutcome {
    /// The header field that tells of the outcome, without CRLF; `nil` where none is wanted.
    func field(_ kind: SPFHeader) -> String? {
        switch kind {
        case .none: nil
        case .receivedSPF: receivedSPF
        // RFC 8601 §2.2: who says so comes first.
        case .authenticationResults: "Authentication-Results: \(receiver); \(authenticationResult)"
        }
    }
}

extension SPFFinding.Result {
    init(_ result: SPFResult) {
        self =
            switch result {
            case .none: .none
            case .neutral: .neutral
            case .pass: .pass
            case .fail: .fail
            case .softfail: .softfail
            case .temperror: .temperror
            case .permerror: .permerror
            }
    }
}
