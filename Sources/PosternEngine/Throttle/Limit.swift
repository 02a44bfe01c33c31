import Counting
import PosternCore

/// How much of something somebody may do within a time.
public struct Limit: Hashable, Sendable {
    /// Who.
    public enum Key: String, CaseIterable, Sendable {
        /// The client's address; in IPv6 its /64.
        case address
        /// The /24 around it, or the /48: weighs softly, by making the limits of its addresses tighter.
        case block
        /// The organisational domain that SPF passes for or that its confirmed name is in.
        case identity
        case account
        /// What follows the account's `@`.
        case accountDomain = "account-domain"
        /// The domain that is written to.
        case recipientDomain = "recipient-domain"
    }

    /// What.
    public enum Unit: String, CaseIterable, Sendable {
        case attempts
        case messages
        case recipients
        /// Kept in units of 1024.
        case bytes
        case newRecipients = "new-recipients"
        /// Recipients that were refused for good.
        case refusals
        /// Log-ins that failed.
        case failures
        /// Networks that an account comes from at once.
        case places
        /// Countries that an account comes from at once.
        case countries

        var counted: CountUnit? {
            switch self {
            case .attempts: .attempts
            case .messages: .messages
            case .recipients: .recipients
            case .bytes: .kibibytes
            case .newRecipients: .newRecipients
            case .refusals: .refusals
            case .failures: .failures
            case .places, .countries: nil
            }
        }
    }

    public var key: Key
    public var unit: Unit
    /// At least 1.
    public var amount: UInt64
    public var window: WallTime.Span

    public static let amounts: ClosedRange<UInt64> = 1...1_000_000_000_000
    /// Networks and countries, which are told apart one by one.
    public static let amountsOfPlaces: ClosedRange<UInt64> = 1...UInt64(AccountPlaces.maximum - 1)
    public static let windows = CountColumn.windows

    public init(_ key: Key, _ unit: Unit, _ amount: UInt64, per window: WallTime.Span) {
        self.key = key
        self.unit = unit
        self.amount = amount
        self.window = window
    }

    /// In the units that are kept.
    var kept: UInt32 {
        unit == .bytes ? UInt32(clamping: (amount + 1023) / 1024) : UInt32(clamping: amount)
    }

    /// Units of an account or its domain that nobody else has.
    static let ofAccounts: Set<Unit> = [.refusals, .failures, .places, .countries]
}

/// Why a text is no limit.
public enum LimitSyntaxError: Error, Equatable, Sendable, CustomStringConvertible {
    case form
    /// With those that may stand there.
    case key(String, [Limit.Key])
    case unit(String, [Limit.Unit])
    case amount(String)
    case places(String, Limit.Unit)
    case window(String)
    case unitOfAnother(Limit.Unit, Limit.Key)

    public var description: String {
        switch self {
        case .form: "a limit reads KEY UNIT AMOUNT/TIME, such as address messages 30/1h"
        case .key(let text, let keys): "'\(text)' is not one of \(keys.map(\.rawValue).joined(separator: ", "))"
        case .unit(let text, let units): "'\(text)' is not one of \(units.map(\.rawValue).joined(separator: ", "))"
        case .amount(let text): "'\(text)' is not a whole number from 1 on, with K, M or G behind it where bytes are meant"
        case .places(let text, let unit):
            "\(text) is more than \(Limit.amountsOfPlaces.upperBound) \(unit.rawValue), the most that are told apart"
        case .window(let text): "'\(text)' is not a time from \(Limit.windows.lowerBound) to \(Limit.windows.upperBound), such as 1h"
        case .unitOfAnother(let unit, let key): "\(unit.rawValue) cannot be counted for \(key.rawValue)"
        }
    }
}

extension Limit: CustomStringConvertible {
    /// Units that are counted for a key. Where limits of blocks have their place, failed log-ins have none, and where they do not,
    /// nothing else of an address has.
    static func units(of key: Key, among keys: Set<Key> = Set(Key.allCases)) -> [Unit] {
        let isAccount = key == .account || key == .accountDomain
        let isForAll = keys.count == Key.allCases.count
        return Unit.allCases.filter { unit in
            switch unit {
            case .places, .countries: key == .account
            case .refusals: isAccount
            case .failures: isAccount || key == .address && (isForAll || !keys.contains(.block))
            case .newRecipients: key == .account || key == .identity || key == .address && keys.contains(.block)
            case .bytes: key != .recipientDomain && (key != .address || keys.contains(.block))
            case .attempts, .messages, .recipients: key != .address || keys.contains(.block)
            }
        }
    }

    /// Reads `address messages 30/1h`, `account bytes 500M/1d`. `keys` are those that have their place there.
    public init(_ text: some StringProtocol, of keys: Set<Key> = Set(Key.allCases)) throws(LimitSyntaxError) {
        let words = text.split(separator: " ")
        guard words.count == 3 else { throw .form }
        guard let key = Key(rawValue: String(words[0])) else { throw .key(String(words[0].prefix(40)), Key.allCases.filter(keys.contains)) }
        guard let unit = Unit(rawValue: String(words[1])) else {
            throw .unit(String(words[1].prefix(40)), Self.units(of: key, among: keys))
        }
        let parts = words[2].split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count == 2 else { throw .form }
        guard let amount = Self.amount(parts[0], unit), Self.amounts.contains(amount) else { throw .amount(String(parts[0].prefix(40))) }
        if unit == .places || unit == .countries {
            guard Self.amountsOfPlaces.contains(amount) else { throw .places(String(parts[0].prefix(40)), unit) }
        }
        guard let window = WallTime.Span(parts[1]), Self.windows.contains(window) else { throw .window(String(parts[1].prefix(40))) }
        guard Self.units(of: key).contains(unit) else { throw .unitOfAnother(unit, key) }
        self.init(key, unit, amount, per: window)
    }

    private static func amount(_ text: some StringProtocol, _ unit: Unit) -> UInt64? {
        var digits = text[...]
        var factor: UInt64 = 1
        if unit == .bytes, let last = digits.last, let index = "KMG".firstIndex(of: last) {
            factor = 1 << (10 * (UInt64("KMG".distance(from: "KMG".startIndex, to: index)) + 1))
            digits = digits.dropLast()
        }
        guard !digits.isEmpty, digits.utf8.count <= 13, digits.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }),
            let number = UInt64(digits)
        else { return nil }
        let (product, overflow) = number.multipliedReportingOverflow(by: factor)
        return overflow ? nil : product
    }

    /// As it is read.
    public var description: String {
        var number = "\(amount)"
        if unit == .bytes {
            for (shift, letter) in [(30, "G"), (20, "M"), (10, "K")] as [(UInt64, String)] where amount % (1 << shift) == 0 {
                number = "\(amount >> shift)\(letter)"
                break
            }
        }
        return "\(key.rawValue) \(unit.rawValue) \(number)/\(window)"
    }
}
