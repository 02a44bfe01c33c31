import PosternEngine
import Testing

@testable import PosternServer

struct StartFailureTests {
    @Test(arguments: [
        (StoreFailure.Kind.full, Int32(74)), (.locked, 75), (.denied, 77), (.uncreatable, 73), (.newer, 78), (.corrupt, 69),
    ])
    func `A store that does not work ends the start with the exit code of the verbs`(kind: StoreFailure.Kind, code: Int32) {
        let failure = StartFailure("cannot read the store", StoreFailure(kind, "why"))
        #expect(failure.code == code && "\(failure)" == "cannot read the store: why")
    }
}
