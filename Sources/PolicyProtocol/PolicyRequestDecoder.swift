import PosternCore

/// Cuts a connection's octets into requests. Holds at most one request and what was fed last.
public struct PolicyRequestDecoder: Sendable {
    private let limits: PolicyLimits
    /// Shared with the request that was handed out last: where nobody holds on to that, its memory serves the next one.
    private var buffer: [UInt8] = []
    /// As `buffer` is, shared with the request handed out last.
    private var values = [Range<Int32>](repeating: 0..<0, count: PolicyAttribute.allCases.count)
    /// Whether `values` are still those of the request handed out last.
    private var valuesAreOld = false
    private var reading = Reading()

    /// - Parameter limits: a request of more than 2 GiB is never taken.
    public init(limits: PolicyLimits = PolicyLimits()) {
        self.limits = limits
    }

    public mutating func feed(_ bytes: some Sequence<UInt8>) {
        forgetRead()
        buffer.append(contentsOf: bytes)
    }

    public mutating func feed(_ bytes: UnsafeRawBufferPointer) {
        forgetRead()
        buffer.append(contentsOf: bytes)
    }

    /// Drops the requests that were handed out.
    private mutating func forgetRead() {
        let read = reading.start
        guard read > 0 else { return }
        if read == buffer.count { buffer.removeAll(keepingCapacity: true) } else { buffer.removeFirst(read) }
        reading.moveBack(by: read)
    }

    /// Whether part of a request is waiting for its rest.
    public var isWithinRequest: Bool { reading.start < buffer.count }

    /// The next whole request, or `nil` when more octets are needed. After an error nothing more can be read.
    public mutating func next() throws(PolicyRequestError) -> PolicyRequest? {
        var values: [Range<Int32>] = []
        swap(&values, &self.values)
        var reading = self.reading
        let step = buffer.withUnsafeBytes { octets in
            values.withUnsafeMutableBufferPointer { values in
                if valuesAreOld { values.update(repeating: 0..<0) }
                return reading.readLines(octets, into: values, limits)
            }
        }
        swap(&values, &self.values)
        valuesAreOld = false
        self.reading = reading
        switch step {
        case .needsMore: return nil
        case .failed(let error): throw error
        case .whole: break
        }
        let request = PolicyRequest(octets: buffer, start: reading.start, values: self.values)
        valuesAreOld = true
        self.reading = Reading(at: reading.line)
        guard request.holds(.request, "smtpd_access_policy") else { throw .notAnAccessPolicyRequest(String(request[.request].prefix(64))) }
        return request
    }

    private enum Step {
        case needsMore
        case whole
        case failed(PolicyRequestError)
    }

    /// How far a request has been read.
    private struct Reading {
        /// The first octet of the request, and of its line being read.
        private(set) var start: Int
        private(set) var line: Int
        /// Up to here the line was searched for its end.
        private var searched: Int
        /// The line's first `=`, where it was come across.
        private var equals: Int?
        /// The line's attribute, where it is the one that was expected.
        private var attribute: Int?
        private var hasNUL = false
        private var lines = 0
        /// The attribute that is likely to come next: Postfix sends them nearly as they are listed.
        private var expected = 0

        init(at start: Int = 0) {
            self.start = start
            line = start
            searched = start
        }

        mutating func moveBack(by octets: Int) {
            start -= octets
            line -= octets
            searched -= octets
            equals = equals.map { $0 - octets }
        }

        mutating func readLines(
            _ octets: UnsafeRawBufferPointer, into values: UnsafeMutableBufferPointer<Range<Int32>>, _ limits: PolicyLimits
        ) -> Step {
            let longest = min(limits.request, Int(Int32.max))
            while true {
                searchLineFeed(octets)
                let isLine = searched < octets.count
                let isLongLine = searched - line > limits.line
                let isLongRequest = searched - start + (isLine ? 1 : 0) > longest
                if isLongLine || isLongRequest {
                    // The one that is passed first counts, so that it is the same one however the octets come.
                    let lineIsFirst = isLongLine && (!isLongRequest || limits.line <= longest - (line - start))
                    return .failed(lineIsFirst ? .lineTooLong(limit: limits.line) : .requestTooLong(limit: limits.request))
                }
                guard isLine else { return .needsMore }
                if searched == line {
                    line += 1
                    return .whole
                }
                lines += 1
                guard lines <= limits.attributes else { return .failed(.tooManyAttributes(limit: limits.attributes)) }
                if let error = note(octets, into: values) { return .failed(error) }
                line = searched + 1
                searched = line
                equals = nil
                attribute = nil
            }
        }

        /// Goes on to the line's end, or to where the octets end. On its way it notes what a line is judged by.
        @inline(__always)
        private mutating func searchLineFeed(_ octets: UnsafeRawBufferPointer) {
            var index = searched
            if index == line, let name = AttributeNames.all.length(of: expected, ifAt: index, in: octets) {
                attribute = expected
                equals = index + name
                index += name + 1
            } else if equals == nil {
                // Names are short.
                while index < octets.count {
                    let octet = octets[index]
                    if octet > UInt8(ascii: "\n") ? octet == UInt8(ascii: "=") : octet == UInt8(ascii: "\n") || octet == 0 { break }
                    index += 1
                }
                if index < octets.count, octets[index] == UInt8(ascii: "=") { equals = index }
            }
            while true {
                index = octets.firstLineFeedOrNUL(from: index)
                guard index < octets.count, octets[index] == 0 else { break }
                hasNUL = true
                index += 1
            }
            searched = index
        }

        @inline(__always)
        private mutating func note(_ octets: UnsafeRawBufferPointer, into values: UnsafeMutableBufferPointer<Range<Int32>>)
            -> PolicyRequestError?
        {
            guard !hasNUL else { return .nulByte }
            guard let equals else {
                return .lineWithoutEquals(line: String(decoding: octets[line..<searched].prefix(64), as: UTF8.self))
            }
            guard equals > line else { return .emptyName }
            guard let named = attribute ?? AttributeNames.all.index(of: UnsafeRawBufferPointer(rebasing: octets[line..<equals])) else {
                return nil
            }
            expected = named + 1
            // SMTPD_POLICY_README, "Protocol description": of an attribute that is sent more than once the first value may be kept.
            guard values[named].lowerBound == 0 else { return nil }
            // Within the longest request.
            values[named] = Range(
                uncheckedBounds: (Int32(truncatingIfNeeded: equals + 1 - start), Int32(truncatingIfNeeded: searched - start)))
            return nil
        }
    }
}
