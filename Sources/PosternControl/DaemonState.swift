import PosternCore
import PosternEngine

/// The time as the engine has it, and as people read it.
public struct Moment: Equatable, Sendable {
    /// What rows and entries are kept in.
    public var steady: WallTime
    public var wall: WallTime

    public init(steady: WallTime, wall: WallTime) {
        self.steady = steady
        self.wall = wall
    }

    /// A steady time by the wall clock.
    func wall(of steady: WallTime) -> WallTime { wall + (steady - self.steady) }

    func shown(_ steady: WallTime) -> String { wall(of: steady).description }
}

/// What the handler needs of the running program. Calls may come from any thread.
public protocol DaemonState: Sendable {
    /// The engine as it decides now.
    func engine() -> Engine
    func now() -> Moment
    /// From here on the engine decides with these lists.
    func listsChanged(_ lists: Lists)
    /// Without `store`, which the handler fills in. Throws where no daemon runs.
    func status() throws(ControlFailure) -> StatusReport
    func reload() async throws(ControlFailure) -> ReloadReport
    /// Whether those who write and are written to are left out of what is told (`log.redact`).
    var redacts: Bool { get }
    /// Writes what is published to a new file of its own, which the asker removes.
    func export(_ draft: ExportDraft) async throws(ControlFailure) -> ExportReport
    /// What traps have put on lists, in no order; `nil` where no daemon runs.
    func harvested() -> [HarvestEntry]?
    /// What a client is listed as.
    func harvestedColour(of address: IPAddress) -> ListColour?
    /// Takes an address off, for good; `nil` where it was not listed.
    func removeHarvested(_ prefix: Prefix) -> HarvestEntry?
    /// `nil` where no daemon runs.
    func removeItself(_ address: IPAddress, requester: IPAddress) -> Harvest.SelfRemoval?
    /// What look-ups find out about an attempt now; asked only where the engine wants to know.
    func findings(for attempt: Attempt) async -> Findings
    /// What counts mean for an attempt now, and every limit that bears on it.
    func standing(of attempt: Attempt) async -> (throttled: Throttled?, limits: [LimitStanding])
    /// The account that a name stands for at log-in, in lower case and with the domain that the configuration gives it.
    func account(_ name: String) -> String
    /// Accounts that are suspended.
    func suspensions() -> [Suspension]
    /// Lets one go on; false where it was not suspended.
    func releaseAccount(_ account: String) -> Bool
    /// Stops one again that was released by mistake.
    func suspend(_ suspension: Suspension)
    /// Who is near a limit or past it, the furthest first.
    func nearLimits() -> [NearLimit]
    /// What somebody had to its name, which is forgotten; `nil` where it had nothing.
    func forgetCounts(_ place: LimitPlace) -> (subject: String, had: [UInt8])?
    /// False where nobody counts, or the octets are none of ours.
    func giveBackCounts(_ place: LimitPlace, _ had: [UInt8]) -> Bool
    /// Keeps an address listed until then; `nil` where it is not listed.
    func extendHarvested(_ prefix: Prefix, until: WallTime) -> HarvestEntry?
    /// Puts an entry back that was removed or changed; false where nobody harvests.
    func putBackHarvested(_ entry: HarvestEntry) -> Bool
}

extension DaemonState {
    public var redacts: Bool { false }

    /// Where nobody is there to look anything up.
    public func findings(for attempt: Attempt) async -> Findings { Findings() }
    /// Nor to count.
    public func standing(of attempt: Attempt) async -> (throttled: Throttled?, limits: [LimitStanding]) { (nil, []) }
    public func account(_ name: String) -> String { name.foldedMailbox }
    public func suspensions() -> [Suspension] { [] }
    public func releaseAccount(_ account: String) -> Bool { false }
    public func suspend(_ suspension: Suspension) {}
    public func nearLimits() -> [NearLimit] { [] }
    public func forgetCounts(_ place: LimitPlace) -> (subject: String, had: [UInt8])? { nil }
    public func giveBackCounts(_ place: LimitPlace, _ had: [UInt8]) -> Bool { false }
    public func extendHarvested(_ prefix: Prefix, until: WallTime) -> HarvestEntry? { nil }
    public func putBackHarvested(_ entry: HarvestEntry) -> Bool { false }

    /// Where nothing is published.
    public func export(_ draft: ExportDraft) async throws(ControlFailure) -> ExportReport {
        throw ControlFailure(.unavailable, "no daemon runs")
    }

    public func harvested() -> [HarvestEntry]? { nil }
    public func harvestedColour(of address: IPAddress) -> ListColour? { nil }
    public func removeHarvested(_ prefix: Prefix) -> HarvestEntry? { nil }
    public func removeItself(_ address: IPAddress, requester: IPAddress) -> Harvest.SelfRemoval? { nil }
}
