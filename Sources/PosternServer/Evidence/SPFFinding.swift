import PosternEngine
import SPF

extension SPFFinding {
    init(_ outcome: SPFOutcome) {
        self.init(Result(outcome.result), domain: outcome.domain, identifies: outcome.givesIdentity)
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
