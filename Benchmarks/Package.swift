// swift-tools-version: 6.2
import PackageDescription

let strict: [SwiftSetting] = [.treatAllWarnings(as: .error)]

let loading: [Target.Dependency] = ["Loopback", .product(name: "ArgumentParser", package: "swift-argument-parser")]

let package = Package(
    name: "postern-benchmarks",
    dependencies: [
        .package(name: "postern", path: ".."),
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
    ],
    targets: [
        .target(name: "Loopback", swiftSettings: strict),
        .executableTarget(name: "policy-load", dependencies: loading, swiftSettings: strict),
        .executableTarget(name: "trap-load", dependencies: loading, swiftSettings: strict),
        .executableTarget(name: "maillog-writer", swiftSettings: strict),
        .executableTarget(name: "dns-responder", swiftSettings: strict),
        .executableTarget(
            name: "counting",
            dependencies: [.product(name: "Counting", package: "postern"), .product(name: "PosternEngine", package: "postern")],
            swiftSettings: strict),
        .executableTarget(
            name: "resolver-load", dependencies: [.product(name: "PosternResolver", package: "postern")], swiftSettings: strict),
        .executableTarget(name: "smtp-hold", dependencies: loading, swiftSettings: strict),
        .executableTarget(name: "smtp-latency", dependencies: loading, swiftSettings: strict),
        .executableTarget(
            name: "dunno-responder",
            dependencies: [.product(name: "NIOCore", package: "swift-nio"), .product(name: "NIOPosix", package: "swift-nio")],
            swiftSettings: strict),
    ]
)
