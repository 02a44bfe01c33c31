// swift-tools-version: 6.2
import PackageDescription

/// Every target is held to the same standard: Swift 6 language mode, and a warning is an error.
let strict: [SwiftSetting] = [.treatAllWarnings(as: .error)]

let package = Package(
    name: "postern",
    products: [
        .executable(name: "postern", targets: ["postern"]),
        // For the benchmarks, which are a package of their own.
        .library(name: "Counting", targets: ["Counting", "PosternCore"]),
        .library(name: "PosternEngine", targets: ["PosternEngine", "PosternCore"]),
        .library(name: "PosternResolver", targets: ["PosternResolver", "DNSProtocol", "PosternCore"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-http-types", from: "1.8.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.37.6"),
        .package(url: "https://github.com/apple/swift-metrics", from: "2.13.0"),
        .package(url: "https://github.com/groue/GRDB.swift", from: "7.10.0"),
        .package(url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.1"),
        .package(url: "https://github.com/hummingbird-project/swift-mustache", from: "2.1.1"),
        .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
        .package(url: "https://github.com/swift-server/async-http-client", from: "1.37.0"),
    ],
    targets: [
        // Pure: neither NIO nor Foundation nor a database; time and randomness are arguments.
        .target(name: "PosternCore", swiftSettings: strict),
        .target(name: "PolicyProtocol", dependencies: ["PosternCore"], swiftSettings: strict),
        .target(name: "SMTPProtocol", dependencies: ["PosternCore"], swiftSettings: strict),
        .target(name: "DNSProtocol", dependencies: ["PosternCore"], swiftSettings: strict),
        .systemLibrary(name: "CMemory"),
        .target(name: "Counting", dependencies: ["CMemory", "PosternCore"], swiftSettings: strict),
        .target(name: "PosternEngine", dependencies: ["AddressTables", "Counting", "PosternCore"], swiftSettings: strict),
        .target(name: "SPF", dependencies: ["PosternCore"], swiftSettings: strict),

        .target(name: "PosternReplay", dependencies: ["DNSProtocol", "PosternCore", "PosternEngine"], swiftSettings: strict),
        .target(name: "AddressTables", dependencies: ["PosternCore"], swiftSettings: strict),
        .target(
            name: "PublishedLists", dependencies: ["AddressTables", "DNSProtocol", "PosternCore", "PosternEngine", "PosternReplay"],
            swiftSettings: strict),

        // The edge.
        .systemLibrary(name: "CCares", pkgConfig: "libcares", providers: [.apt(["libc-ares-dev"])]),
        .target(
            name: "PosternResolver",
            dependencies: [
                "CCares", "DNSProtocol", "PosternCore", "SPF", .product(name: "NIOConcurrencyHelpers", package: "swift-nio"),
            ],
            swiftSettings: strict),
        .target(
            name: "MailExchangers", dependencies: ["DNSProtocol", "PosternCore", "PosternResolver", "SMTPProtocol"],
            swiftSettings: strict),
        .systemLibrary(name: "CMaxMind", pkgConfig: "libmaxminddb", providers: [.apt(["libmaxminddb-dev"])]),
        .systemLibrary(name: "CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"])]),
        .systemLibrary(name: "CZstd", pkgConfig: "libzstd", providers: [.apt(["libzstd-dev"])]),
        .target(name: "LogFiles", dependencies: ["CZlib", "CZstd", "PosternCore", "PosternReplay"], swiftSettings: strict),
        .systemLibrary(name: "CAttributes"),
        .systemLibrary(name: "CEpoll"),
        .systemLibrary(name: "CDatagrams"),
        .target(
            name: "DNSListServer",
            dependencies: [
                "CDatagrams", "PosternCore", "PosternEngine", "PublishedLists",
                .product(name: "NIOConcurrencyHelpers", package: "swift-nio"),
            ],
            swiftSettings: strict),
        .target(
            name: "PosternTarpit",
            dependencies: ["CEpoll", "PosternCore", .product(name: "NIOConcurrencyHelpers", package: "swift-nio")],
            swiftSettings: strict),
        .systemLibrary(name: "CPublicSuffix", pkgConfig: "libpsl", providers: [.apt(["libpsl-dev"])]),
        .target(name: "PublicSuffix", dependencies: ["CPublicSuffix", "PosternCore", "PosternEngine"], swiftSettings: strict),
        .target(
            name: "PosternConfiguration",
            dependencies: ["CAttributes", "DNSProtocol", "PosternCore", "PosternEngine", .product(name: "Yams", package: "Yams")],
            swiftSettings: strict),
        .target(
            name: "PosternStorage",
            dependencies: [
                "PosternCore", "PosternEngine",
                .product(name: "GRDB", package: "GRDB.swift"),
                .product(name: "GRDBSQLite", package: "GRDB.swift"),
                .product(name: "NIOConcurrencyHelpers", package: "swift-nio"),
            ],
            swiftSettings: strict),
        .target(
            name: "PosternControl",
            dependencies: [
                "PosternCore", "PosternEngine", "PosternReplay", .product(name: "NIOConcurrencyHelpers", package: "swift-nio"),
            ],
            swiftSettings: strict),
        .target(
            name: "PosternServer",
            dependencies: [
                "AddressTables", "CMaxMind", "DNSListServer", "DNSProtocol", "Notices", "PolicyProtocol", "PosternAdmin",
                "PosternConfiguration",
                "PosternControl", "PosternCore", "PosternEngine", "PosternMetrics", "PosternResolver", "PosternStorage", "PosternTarpit",
                "PublicSuffix", "PublishedLists", "SMTPProtocol", "SPF", "Subscriptions",
                .product(name: "AsyncHTTPClient", package: "async-http-client"), .product(name: "Logging", package: "swift-log"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOConcurrencyHelpers", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "NIOSSL", package: "swift-nio-ssl"),
                .product(name: "NIOTLS", package: "swift-nio"),
            ],
            swiftSettings: strict),
        .target(
            name: "PosternMetrics",
            dependencies: [
                .product(name: "Metrics", package: "swift-metrics"), .product(name: "NIOConcurrencyHelpers", package: "swift-nio"),
            ],
            swiftSettings: strict),
        .target(
            name: "PosternAdmin",
            dependencies: [
                "PosternControl", "PosternCore", "PosternEngine", "PosternMetrics", "PosternReplay", "PublishedLists",
                .product(name: "HTTPTypes", package: "swift-http-types"), .product(name: "Hummingbird", package: "hummingbird"),
                .product(name: "HummingbirdCore", package: "hummingbird"),
                .product(name: "Logging", package: "swift-log"), .product(name: "Mustache", package: "swift-mustache"),
                .product(name: "NIOConcurrencyHelpers", package: "swift-nio"), .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"), .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "NIOSSL", package: "swift-nio-ssl"),
            ],
            swiftSettings: strict),
        .target(
            name: "Subscriptions",
            dependencies: [
                "LogFiles", "PosternCore", "PosternEngine", "PosternReplay", "PublishedLists",
                .product(name: "AsyncHTTPClient", package: "async-http-client"), .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
            ],
            swiftSettings: strict),
        .target(
            name: "Notices",
            dependencies: [
                "PosternCore",
                .product(name: "AsyncHTTPClient", package: "async-http-client"), .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
            ],
            swiftSettings: strict),
        .executableTarget(
            name: "postern",
            dependencies: [
                "DNSProtocol", "LogFiles", "MailExchangers", "PosternConfiguration", "PosternControl", "PosternCore", "PosternEngine",
                "PosternReplay",
                "PosternResolver", "PosternServer", "PosternStorage", "PublicSuffix", "PublishedLists", "SPF",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "NIOConcurrencyHelpers", package: "swift-nio"),
            ],
            swiftSettings: strict),

        // Tests: one folder a target; IntegrationTests runs real servers.
        .target(
            name: "IntegrationSupport", dependencies: ["DNSProtocol", "PosternCore"], path: "Tests/IntegrationSupport",
            swiftSettings: strict),
        .target(
            name: "EngineTestSupport", dependencies: ["PosternCore", "PosternEngine"], path: "Tests/EngineTestSupport",
            swiftSettings: strict),
        .testTarget(name: "CountingTests", dependencies: ["Counting", "EngineTestSupport", "PosternCore"], swiftSettings: strict),
        .testTarget(name: "DNSProtocolTests", dependencies: ["DNSProtocol", "PosternCore"], swiftSettings: strict),
        .testTarget(
            name: "PosternResolverTests", dependencies: ["DNSProtocol", "IntegrationSupport", "PosternCore", "PosternResolver"],
            swiftSettings: strict),
        .testTarget(
            name: "PosternReplayTests",
            dependencies: ["DNSProtocol", "EngineTestSupport", "PosternCore", "PosternEngine", "PosternReplay"], swiftSettings: strict),
        .testTarget(name: "MailExchangersTests", dependencies: ["MailExchangers", "PosternCore"], swiftSettings: strict),
        .testTarget(name: "LogFilesTests", dependencies: ["CZlib", "CZstd", "LogFiles", "PosternReplay"], swiftSettings: strict),
        .testTarget(
            name: "PosternTarpitTests",
            dependencies: [
                "IntegrationSupport", "PosternCore", "PosternTarpit",
                .product(name: "NIOConcurrencyHelpers", package: "swift-nio"),
            ],
            swiftSettings: strict),
        .testTarget(name: "AddressTablesTests", dependencies: ["AddressTables", "PosternCore"], swiftSettings: strict),
        .testTarget(
            name: "PublishedListsTests",
            dependencies: ["AddressTables", "DNSProtocol", "EngineTestSupport", "PosternCore", "PosternEngine", "PublishedLists"],
            swiftSettings: strict),
        .testTarget(name: "PolicyProtocolTests", dependencies: ["PolicyProtocol", "PosternCore"], swiftSettings: strict),
        .testTarget(name: "PosternCoreTests", dependencies: ["EngineTestSupport", "PosternCore"], swiftSettings: strict),
        .testTarget(
            name: "PosternEngineTests", dependencies: ["EngineTestSupport", "PosternCore", "PosternEngine"], swiftSettings: strict),
        .testTarget(
            name: "SMTPProtocolTests", dependencies: ["PosternCore", "SMTPProtocol"], exclude: ["Dialogues"], swiftSettings: strict),
        .testTarget(
            name: "SPFTests",
            dependencies: [
                "DNSProtocol", "IntegrationSupport", "PosternCore", "PosternResolver", "SPF", .product(name: "Yams", package: "Yams"),
            ],
            swiftSettings: strict),
        .testTarget(
            name: "PosternConfigurationTests", dependencies: ["DNSProtocol", "PosternConfiguration", "PosternCore", "PosternEngine"],
            exclude: ["Bad", "Good"], swiftSettings: strict),
        .testTarget(
            name: "PosternStorageTests",
            dependencies: [
                "PosternCore", "PosternEngine", "PosternStorage", .product(name: "GRDBSQLite", package: "GRDB.swift"),
                .product(name: "NIOConcurrencyHelpers", package: "swift-nio"),
            ],
            swiftSettings: strict),
        .testTarget(
            name: "PosternStoragePropertyTests", dependencies: ["EngineTestSupport", "PosternCore", "PosternEngine", "PosternStorage"],
            swiftSettings: strict),
        .testTarget(
            name: "PosternControlTests",
            dependencies: [
                "PosternControl", "PosternCore", "PosternEngine", "PosternReplay", "PosternStorage",
                .product(name: "NIOConcurrencyHelpers", package: "swift-nio"),
            ],
            swiftSettings: strict),
        .testTarget(
            name: "PosternMetricsTests", dependencies: ["PosternMetrics", .product(name: "Metrics", package: "swift-metrics")],
            swiftSettings: strict),
        .testTarget(name: "PosternAdminTests", dependencies: ["PosternAdmin", "PosternControl", "PosternEngine"], swiftSettings: strict),
        .testTarget(
            name: "PosternServerTests",
            dependencies: [
                "DNSListServer", "DNSProtocol", "IntegrationSupport", "Notices", "PolicyProtocol", "PosternConfiguration", "PosternControl",
                "PosternCore", "PosternEngine",
                "PosternResolver", "PosternServer", "PosternStorage", "PublishedLists", "SMTPProtocol", "Subscriptions",
                .product(name: "Logging", package: "swift-log"),
                .product(name: "NIOConcurrencyHelpers", package: "swift-nio"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "NIOSSL", package: "swift-nio-ssl"),
                .product(name: "NIOTLS", package: "swift-nio"),
            ],
            swiftSettings: strict),
        .testTarget(
            name: "CommandTests",
            dependencies: ["DNSProtocol", "IntegrationSupport", "PosternConfiguration", "PosternControl", "PosternCore", "postern"],
            swiftSettings: strict),
        .testTarget(
            name: "IntegrationTests",
            dependencies: [
                "DNSProtocol", "EngineTestSupport", "IntegrationSupport", "PosternConfiguration", "PosternCore", "PosternEngine",
                "PosternServer", "PosternStorage", "SMTPProtocol", "postern",
                .product(name: "Logging", package: "swift-log"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
            ],
            swiftSettings: strict),
    ]
)
