import Glibc

/// A lock with a condition whose waits end by the clock that only goes on (CLOCK_MONOTONIC). By the wall clock, as others measure
/// them, a wait of a moment lasts for an hour when that clock is set back by one.
// A mutex and a condition of pthreads are made to be used by many threads.
final class SteadyCondition: @unchecked Sendable {
    private let mutex: UnsafeMutablePointer<pthread_mutex_t>
    private let condition: UnsafeMutablePointer<pthread_cond_t>

    /// A moment of the steady clock.
    struct Moment {
        fileprivate var time: timespec

        /// So many seconds from now.
        init(in seconds: Double) {
            time = timespec()
            clock_gettime(CLOCK_MONOTONIC, &time)
            let nanoseconds = time.tv_nsec + Int(max(seconds, 0) * 1e9)
            time.tv_sec += nanoseconds / 1_000_000_000
            time.tv_nsec = nanoseconds % 1_000_000_000
        }
    }

    init() {
        mutex = .allocate(capacity: 1)
        condition = .allocate(capacity: 1)
        pthread_mutex_init(mutex, nil)
        var attributes = pthread_condattr_t()
        pthread_condattr_init(&attributes)
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
        pthread_cond_init(condition, &attributes)
        pthread_condattr_destroy(&attributes)
    }

    deinit {
        pthread_cond_destroy(condition)
        pthread_mutex_destroy(mutex)
        condition.deallocate()
        mutex.deallocate()
    }

    func lock() { pthread_mutex_lock(mutex) }
    func unlock() { pthread_mutex_unlock(mutex) }
    func signal() { pthread_cond_signal(condition) }
    func broadcast() { pthread_cond_broadcast(condition) }

    /// With the lock held. It may return although nobody has called.
    func wait() { pthread_cond_wait(condition, mutex) }

    /// - Returns: false where the moment came first.
    func wait(until moment: Moment) -> Bool {
        var time = moment.time
        return pthread_cond_timedwait(condition, mutex, &time) == 0
    }
}
