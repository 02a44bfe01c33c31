extension Array {
    /// `reverse()`, by moves: no element is copied, which would count every reference within it up and down.
    mutating func turnRound() {
        withUnsafeMutableBufferPointer { elements in
            guard var first = elements.baseAddress else { return }
            var last = first + (elements.count - 1)
            while first < last {
                let element = first.move()
                first.moveInitialize(from: last, count: 1)
                last.initialize(to: element)
                first += 1
                last -= 1
            }
        }
    }
}
