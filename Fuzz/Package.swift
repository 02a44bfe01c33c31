// swift-tools-version: 6.2
import PackageDescription

let strict: [SwiftSetting] = [.treatAllWarnings(as: .error)]

// The pure targets stand here by links, so that nothing else has to be fetched or built, and all of them are instrumented.
let package = Package(
    name: "postern-fuzz",
    targets: [
        .target(name: "PosternCore", swiftSettings: strict),
        .target(name: "SMTPProtocol", dependencies: ["PosternCore"], swiftSettings: strict),
        .target(name: "PolicyProtocol", dependencies: ["PosternCore"], swiftSettings: strict),
        .target(name: "SPF", dependencies: ["PosternCore"], swiftSettings: strict),
        .target(name: "AddressTables", dependencies: ["PosternCore"], swiftSettings: strict),
        .target(name: "DNSProtocol", dependencies: ["PosternCore"], swiftSettings: strict),
        .systemLibrary(name: "CMemory"),
        .target(name: "Counting", dependencies: ["CMemory", "PosternCore"], swiftSettings: strict),
        .target(name: "PosternEngine", dependencies: ["AddressTables", "Counting", "PosternCore"], swiftSettings: strict),
        .target(name: "PosternReplay", dependencies: ["DNSProtocol", "PosternCore", "PosternEngine"], swiftSettings: strict),
        .target(
            name: "PublishedLists", dependencies: ["AddressTables", "DNSProtocol", "PosternCore", "PosternEngine", "PosternReplay"],
            swiftSettings: strict),
        .target(
            name: "Checks",
            dependencies: [
                "AddressTables", "DNSProtocol", "PolicyProtocol", "PosternCore", "PosternEngine", "PosternReplay", "PublishedLists",
                "SMTPProtocol", "SPF",
            ], swiftSettings: strict),
        // libFuzzer brings `main`: `swift build -c release --sanitize fuzzer`.
        .executableTarget(name: "fuzz", dependencies: ["Checks"], swiftSettings: strict),
    ]
)
