// swift-tools-version: 6.2
import PackageDescription

let strict: [SwiftSetting] = [.treatAllWarnings(as: .error)]

let package = Package(
    name: "postern-benchmarks",
    dependencies: [
        .package(name: "postern", path: ".."),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
    ],
    targets: [
        .executableTarget(name: "policy-load", swiftSettings: strict),
        .executableTarget(name: "trap-load", swiftSettings: strict),
        .executableTarget(name: "maillog-writer", swiftSettings: strict),
        .executableTarget(name: "dns-responder", swiftSettings: strict),
        .executableTarget(name: "counting", dependencies: [.product(name: "Counting", package: "postern")], swiftSettings: strict),
        .executableTarget(
            name: "resolver-load", dependencies: [.product(name: "PosternResolver", package: "postern")], swiftSettings: strict),
        .executableTarget(name: "smtp-hold", swiftSettings: strict),
        .executableTarget(name: "smtp-latency", swiftSettings: strict),
        .executableTarget(
            name: "dunno-responder",
            dependencies: [.product(name: "NIOCore", package: "swift-nio"), .product(name: "NIOPosix", package: "swift-nio")],
            swiftSettings: strict),
    ]
)
