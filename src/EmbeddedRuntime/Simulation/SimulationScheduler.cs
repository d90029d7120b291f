// Deterministic simulation. Everything that may happen next is an event in one list: an activation's turn, a call's arrival, a reply's
// arrival, a continuation of the scenario. Each step draws one of them from a seeded generator and runs it on the one thread; when there
// is none, the virtual clock moves to its next timer. The same seed over the same code therefore gives the same run, step by step.
//
// What would break that is code that leaves the thread: Task.Run, real timers, real I/O, and a ConfigureAwait(false) whose task is
// completed inside a grain's turn. Replies and timers are delivered outside any turn and without a synchronisation context, so that a
// library's ConfigureAwait(false) behind them stays on the thread. A post from another thread ends the run with an error.

using System.Runtime.ExceptionServices;
using ObjectStore.EmbeddedRuntime.Activations;
using Orleans;
using Orleans.Runtime;

namespace ObjectStore.EmbeddedRuntime.Simulation;

/// <summary>Runs the grains of one or more runtimes in an order drawn from a seed. Not safe for concurrent use.</summary>
public sealed class SimulationScheduler
{
    private readonly List<Event> _ready = [];
    private readonly List<Event> _foreign = [];
    private readonly Dictionary<(GrainClass Class, string Key), List<Activation>> _duplicates = [];
    private readonly Dictionary<CallRequest, SimulatedFault> _pendingFaults = new(ReferenceEqualityComparer.Instance);
    private readonly List<string> _trace = [];
    private readonly Context _context;
    private GrainRuntime? _runtime;
    private ulong _random;
    private int _threadId;
    private bool _foreignSeen;

    public SimulationScheduler(ulong seed, SimulationFaults? faults = null)
    {
        Seed = seed;
        _random = seed;
        Faults = faults ?? new SimulationFaults();
        _context = new Context(this);
    }

    public ulong Seed { get; }

    /// <summary>May be changed at any step.</summary>
    public SimulationFaults Faults { get; }

    public VirtualTimeProvider Time { get; } = new();

    public long Steps { get; private set; }

    /// <summary>The run so far as one number: equal for equal runs.</summary>
    public ulong TraceHash { get; private set; } = 14695981039346656037;

    /// <summary>The first <see cref="MaxTraceLength"/> events, one line each.</summary>
    public IReadOnlyList<string> Trace => _trace;

    public int MaxTraceLength { get; set; } = 10_000;

    /// <summary>Steps after which a run counts as stalled.</summary>
    public long MaxSteps { get; set; } = 50_000_000;

    /// <summary>Virtual time after which a run counts as stalled.</summary>
    public TimeSpan MaxVirtualTime { get; set; } = TimeSpan.FromDays(30);

    /// <summary>Runs a scenario to its end. Its awaits resume here, as events among the others.</summary>
    /// <exception cref="SimulationStalledException">The scenario waits for something that cannot happen.</exception>
    public void Run(Func<Task> scenario)
    {
        ArgumentNullException.ThrowIfNull(scenario);
        if (_threadId != 0)
            throw new InvalidOperationException("The simulation is running already.");
        SynchronizationContext? outer = SynchronizationContext.Current;
        _threadId = Environment.CurrentManagedThreadId;
        try
        {
            SynchronizationContext.SetSynchronizationContext(_context);
            Task running = scenario();
            SynchronizationContext.SetSynchronizationContext(null);
            while (!running.IsCompleted)
                Step();
            if (running.IsFaulted)
                ExceptionDispatchInfo.Throw(running.Exception!.InnerException!);
            running.GetAwaiter().GetResult();
        }
        finally
        {
            _threadId = 0;
            SynchronizationContext.SetSynchronizationContext(outer);
        }
    }

    /// <summary>Lets virtual time pass, with all that happens in it. To be awaited inside the scenario.</summary>
    public Task Delay(TimeSpan time) => Task.Delay(time, Time);

    /// <summary>A number from 0 to below the limit, drawn from the seed.</summary>
    public int Next(int limit) => (int)(NextULong() % (ulong)limit);

    /// <summary>A number from 0 to below 1, drawn from the seed.</summary>
    public double NextDouble() => (NextULong() >> 11) * (1.0 / (1UL << 53));

    /// <summary>Drops every activation of a grain as a crash of its host would: no turn more, no OnDeactivateAsync, no answer to its callers.</summary>
    public void CrashActivation(IAddressable grain)
    {
        GrainReference reference = (GrainReference)grain;
        Record("crash", reference.GrainId.ToString());
        CrashAll(reference.Class, reference.Key);
    }

    /// <summary>Brings a second activation of a grain to life beside the first. For that long, calls go to either at random.</summary>
    public void DuplicateActivation(IAddressable grain, TimeSpan lifetime)
    {
        GrainReference reference = (GrainReference)grain;
        Duplicate(reference.Class, reference.Key, lifetime);
    }

    internal void Attach(GrainRuntime runtime) => _runtime = runtime;

    internal void Schedule(Activation activation) => Add(new Event("turn", activation, null));

    internal void Send(CallRequest call)
    {
        SimulatedFault fault = DrawFault(call);
        if ((fault & SimulatedFault.LoseRequest) != 0)
        {
            Record("lose-request", call.Method + " " + call.GrainId);
            return;
        }

        if (fault != SimulatedFault.None)
            _pendingFaults[call] = fault;
        if ((fault & SimulatedFault.Delay) == 0)
        {
            Add(new Event("arrive", call, null));
            return;
        }

        TimeSpan delay = TimeSpan.FromTicks((long)(NextDouble() * Faults.MaxDelay.Ticks));
        Record("delay", call.Method + " " + call.GrainId);
        ITimer? timer = null;
        using (SuppressedFlow.Begin())
        {
            timer = Time.CreateTimer(
                _ =>
                {
                    timer?.Dispose();
                    Add(new Event("arrive", call, null));
                },
                null,
                delay,
                Timeout.InfiniteTimeSpan);
        }
    }

    internal void Resend(CallRequest call) => Add(new Event("arrive", call, null));

    internal void Reply(CallRequest call)
    {
        if (_pendingFaults.Remove(call, out SimulatedFault fault))
        {
            if ((fault & SimulatedFault.CrashAfter) != 0)
            {
                Record("crash-after", call.Method + " " + call.GrainId);
                call.Activation!.Crash();
                return;
            }

            if ((fault & SimulatedFault.LoseReply) != 0)
            {
                Record("lose-reply", call.Method + " " + call.GrainId);
                return;
            }
        }

        Add(new Event("reply", call, null));
    }

    internal void Fail(CallRequest call, Exception exception)
    {
        _pendingFaults.Remove(call);
        Add(new Event("fail", call, exception));
    }

    private void Step()
    {
        if (Volatile.Read(ref _foreignSeen))
            throw new InvalidOperationException(ForeignMessage());
        if (++Steps > MaxSteps)
            throw new SimulationStalledException($"Seed {Seed}: {MaxSteps} steps did not end the scenario.");
        if (_ready.Count == 0)
        {
            if (!Time.AdvanceToNextTimer())
                throw new SimulationStalledException($"Seed {Seed}: the scenario waits, but nothing is to run and no timer is set.");
            if (Time.GetUtcNow() - Time.Start > MaxVirtualTime)
                throw new SimulationStalledException($"Seed {Seed}: {MaxVirtualTime} of virtual time did not end the scenario.");
            return;
        }

        int index = _ready.Count == 1 ? 0 : Next(_ready.Count);
        Event chosen = _ready[index];
        _ready[index] = _ready[^1];
        _ready.RemoveAt(_ready.Count - 1);
        switch (chosen.Target)
        {
            case Activation activation:
                Record("turn", activation.GrainId.ToString());
                activation.Execute(turns: 1);
                break;
            case CallRequest call when chosen.Kind == "arrive":
                Record("arrive", call.Method + " " + call.GrainId);
                Arrive(call);
                break;
            case CallRequest call when chosen.Kind == "reply":
                Record("reply", call.Method + " " + call.GrainId);
                call.DeliverReply();
                break;
            case CallRequest call:
                Record("fail", call.Method + " " + call.GrainId);
                call.Fail((Exception)chosen.State!);
                _runtime!.Timeouts.Remove(call);
                break;
            case SendOrPostCallback callback:
                Record("scenario", "");
                SynchronizationContext.SetSynchronizationContext(_context);
                callback(chosen.State);
                SynchronizationContext.SetSynchronizationContext(null);
                break;
        }
    }

    private void Arrive(CallRequest call)
    {
        SimulatedFault fault = _pendingFaults.GetValueOrDefault(call);
        if (call.IsAbandoned)
        {
            _pendingFaults.Remove(call);
            return;
        }

        if ((fault & SimulatedFault.CrashBefore) != 0)
        {
            Record("crash-before", call.GrainId.ToString());
            CrashAll(call.Class, call.Key);
        }

        if ((fault & SimulatedFault.DuplicateActivation) != 0)
            Duplicate(call.Class, call.Key, Faults.DuplicateLifetime);
        // Each fault of arrival happens once, also where the call is forwarded afterwards.
        if (fault != SimulatedFault.None)
            _pendingFaults[call] = fault & (SimulatedFault.LoseReply | SimulatedFault.CrashAfter);
        try
        {
            _runtime!.Deliver(call, PickDuplicate(call));
        }
        catch (OrleansException exception)
        {
            Fail(call, exception);
        }
    }

    private Activation? PickDuplicate(CallRequest call)
    {
        if (!_duplicates.TryGetValue((call.Class, call.Key), out List<Activation>? duplicates))
            return null;
        duplicates.RemoveAll(duplicate => duplicate.IsGone);
        if (duplicates.Count == 0)
        {
            _duplicates.Remove((call.Class, call.Key));
            return null;
        }

        int choice = Next(duplicates.Count + 1);
        return choice == 0 ? null : duplicates[choice - 1];
    }

    private void Duplicate(GrainClass grainClass, string key, TimeSpan lifetime)
    {
        Record("duplicate", $"{grainClass.GrainType}/{key}");
        Activation duplicate = _runtime!.CreateDuplicate(grainClass, key);
        if (!_duplicates.TryGetValue((grainClass, key), out List<Activation>? duplicates))
            _duplicates[(grainClass, key)] = duplicates = [];
        duplicates.Add(duplicate);
        using (SuppressedFlow.Begin())
        {
            Time.CreateTimer(
                _ => duplicate.Deactivate(new DeactivationReason(DeactivationReasonCode.DuplicateActivation, "Another activation is the registered one.")),
                null,
                lifetime,
                Timeout.InfiniteTimeSpan);
        }
    }

    private void CrashAll(GrainClass grainClass, string key)
    {
        grainClass.Find(key)?.Crash();
        if (!_duplicates.Remove((grainClass, key), out List<Activation>? duplicates))
            return;
        foreach (Activation duplicate in duplicates)
            duplicate.Crash();
    }

    private SimulatedFault DrawFault(CallRequest call)
    {
        SimulatedFault fault = Faults.OnCall?.Invoke(new SimulatedCall(call.GrainId, call.Method.InterfaceName, call.Method.Name)) ?? SimulatedFault.None;
        fault |= Draw(Faults.Delay, SimulatedFault.Delay);
        fault |= Draw(Faults.LoseRequest, SimulatedFault.LoseRequest);
        fault |= Draw(Faults.LoseReply, SimulatedFault.LoseReply);
        fault |= Draw(Faults.DuplicateActivation, SimulatedFault.DuplicateActivation);
        fault |= Draw(Faults.CrashBefore, SimulatedFault.CrashBefore);
        fault |= Draw(Faults.CrashAfter, SimulatedFault.CrashAfter);
        return fault;
    }

    private SimulatedFault Draw(double probability, SimulatedFault fault) => probability > 0 && NextDouble() < probability ? fault : SimulatedFault.None;

    private void Add(Event next)
    {
        if (_threadId != 0 && Environment.CurrentManagedThreadId != _threadId)
        {
            lock (_foreign)
                _foreign.Add(next);
            Volatile.Write(ref _foreignSeen, true);
            return;
        }

        _ready.Add(next);
    }

    private string ForeignMessage()
    {
        lock (_foreign)
        {
            return $"Seed {Seed}: '{_foreign[0].Kind}' of {(_foreign[0].Target as Activation)?.GrainId.ToString() ?? "the scenario"} came from another thread, so the run "
                + "cannot be repeated. Keep Task.Run, real timers and real I/O out of a simulation.";
        }
    }

    private void Record(string kind, string what)
    {
        ulong hash = TraceHash;
        foreach (char c in kind)
            hash = (hash ^ c) * 1099511628211;
        foreach (char c in what)
            hash = (hash ^ c) * 1099511628211;
        TraceHash = (hash ^ (ulong)Time.GetTimestamp()) * 1099511628211;
        if (_trace.Count < MaxTraceLength)
            _trace.Add($"{Time.GetTimestamp()} {kind} {what}");
    }

    // SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014): its sequence is fixed by its definition,
    // where System.Random's is not promised across versions.
    private ulong NextULong()
    {
        ulong z = _random += 0x9E3779B97F4A7C15;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
        return z ^ (z >> 31);
    }

    private readonly record struct Event(string Kind, object Target, object? State);

    private sealed class Context(SimulationScheduler simulation) : SynchronizationContext
    {
        public override void Post(SendOrPostCallback d, object? state) => simulation.Add(new Event("scenario", d, state));

        public override void Send(SendOrPostCallback d, object? state) => throw new NotSupportedException("A simulation has one thread.");

        public override SynchronizationContext CreateCopy() => this;
    }
}
