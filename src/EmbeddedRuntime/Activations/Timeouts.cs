// Response timeouts. Nearly all calls share one timeout, so the pending calls in the order they began are the pending calls in the
// order of their deadlines: a linked list per timeout, striped over locks, swept by one coarse timer that runs only while calls wait.

using System.Collections.Concurrent;

namespace ObjectStore.EmbeddedRuntime.Activations;

internal sealed class TimeoutStripe
{
    public CallRequest? First;
    public CallRequest? Last;
}

internal sealed class Timeouts : IDisposable
{
    private readonly GrainRuntime _runtime;
    private readonly ConcurrentDictionary<TimeSpan, TimeoutQueue> _queues = new();
    private readonly TimeoutQueue _default;

    public Timeouts(GrainRuntime runtime, TimeSpan defaultTimeout)
    {
        _runtime = runtime;
        _default = _queues.GetOrAdd(defaultTimeout, timeout => new TimeoutQueue(_runtime, timeout));
    }

    public void Add(CallRequest call)
    {
        TimeoutQueue queue = call.Method.ResponseTimeout is { } timeout ? _queues.GetOrAdd(timeout, span => new TimeoutQueue(_runtime, span)) : _default;
        queue.Add(call);
    }

    public void Remove(CallRequest call)
    {
        TimeoutStripe? stripe = Volatile.Read(ref call.Stripe);
        if (stripe is null)
            return;
        lock (stripe)
        {
            if (call.Stripe is not null)
                TimeoutQueue.Unlink(stripe, call);
        }
    }

    public void Dispose()
    {
        foreach (TimeoutQueue queue in _queues.Values)
            queue.Dispose();
    }

    private sealed class TimeoutQueue : IDisposable
    {
        private readonly GrainRuntime _runtime;
        private readonly TimeSpan _timeout;
        private readonly TimeSpan _sweepPeriod;
        private readonly TimeoutStripe[] _stripes;
        private readonly ITimer _timer;
        private int _armed;

        public TimeoutQueue(GrainRuntime runtime, TimeSpan timeout)
        {
            _runtime = runtime;
            _timeout = timeout;
            _sweepPeriod = TimeSpan.FromTicks(Math.Clamp(timeout.Ticks / 16, TimeSpan.TicksPerMillisecond, TimeSpan.TicksPerSecond));
            _stripes = new TimeoutStripe[runtime.Simulation is null ? Math.Min(16, (int)System.Numerics.BitOperations.RoundUpToPowerOf2((uint)Environment.ProcessorCount)) : 1];
            for (int i = 0; i < _stripes.Length; i++)
                _stripes[i] = new TimeoutStripe();
            using (SuppressedFlow.Begin())
                _timer = runtime.Time.CreateTimer(static state => ((TimeoutQueue)state!).Sweep(), this, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
        }

        public void Add(CallRequest call)
        {
            TimeoutStripe stripe = _stripes[Environment.CurrentManagedThreadId & (_stripes.Length - 1)];
            lock (stripe)
            {
                // The answer may have come between the call's beginning and now. One that comes later finds the stripe.
                if (call.IsAbandoned)
                    return;
                call.DeadlineTicks = _runtime.NowTicks + _timeout.Ticks;
                call.EarlierDeadline = stripe.Last;
                call.LaterDeadline = null;
                if (stripe.Last is null)
                    stripe.First = call;
                else
                    stripe.Last.LaterDeadline = call;
                stripe.Last = call;
                Volatile.Write(ref call.Stripe, stripe);
            }

            // The reply may have been set while the stripe was not yet visible to it.
            if (call.IsAbandoned)
                _runtime.Timeouts.Remove(call);
            if (_armed == 0 && Interlocked.Exchange(ref _armed, 1) == 0)
                _timer.Change(_sweepPeriod, Timeout.InfiniteTimeSpan);
        }

        public static void Unlink(TimeoutStripe stripe, CallRequest call)
        {
            if (call.EarlierDeadline is null)
                stripe.First = call.LaterDeadline;
            else
                call.EarlierDeadline.LaterDeadline = call.LaterDeadline;
            if (call.LaterDeadline is null)
                stripe.Last = call.EarlierDeadline;
            else
                call.LaterDeadline.EarlierDeadline = call.EarlierDeadline;
            call.EarlierDeadline = null;
            call.LaterDeadline = null;
            call.Stripe = null;
        }

        public void Dispose() => _timer.Dispose();

        private void Sweep()
        {
            // Disarmed first: a call added from here on arms the timer again, so none is left without a sweep.
            Volatile.Write(ref _armed, 0);
            long now = _runtime.NowTicks;
            bool left = false;
            foreach (TimeoutStripe stripe in _stripes)
            {
                while (true)
                {
                    CallRequest? due;
                    lock (stripe)
                    {
                        due = stripe.First;
                        if (due is null)
                            break;
                        if (due.DeadlineTicks > now)
                        {
                            left = true;
                            break;
                        }

                        Unlink(stripe, due);
                    }

                    due.TimeOut(_timeout);
                }
            }

            if (left && Interlocked.Exchange(ref _armed, 1) == 0)
                _timer.Change(_sweepPeriod, Timeout.InfiniteTimeSpan);
        }
    }
}

/// <summary>Keeps a timer or a task from holding on to the execution context it was made in.</summary>
internal readonly struct SuppressedFlow : IDisposable
{
    private readonly AsyncFlowControl? _control;

    private SuppressedFlow(AsyncFlowControl? control) => _control = control;

    public static SuppressedFlow Begin() => new(ExecutionContext.IsFlowSuppressed() ? null : ExecutionContext.SuppressFlow());

    public void Dispose() => _control?.Undo();
}
