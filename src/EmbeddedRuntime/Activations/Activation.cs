// One activation: a grain object, the requests that wait for it, and the rule that one turn of it runs at a time.
//
// A turn is what runs between two awaits. The activation is its own SynchronizationContext, so an await inside the grain posts the rest
// of the method back here. Whoever sets _running owns the turn; it is set under the lock and cleared under the lock, together with
// looking whether more is to be done, so no wake-up is lost: either the owner sees the new work, or the newcomer sees no owner.
//
// Order within an activation: work already admitted (continuations, interleaving requests) first, then waiting requests in the order
// they came. A request that may not interleave is admitted when none like it is in flight.
//
// An idle activation runs a call on the caller's own thread (TryEnterInline … ExitInline). That cannot deadlock, because a turn never
// blocks on another; the depth of such calls within calls is bounded, deeper ones go to the thread pool.
//
// Phases: New → Activating → Active → Deactivating → Gone. While deactivating the activation stays in the directory and collects
// requests; once gone it sends them on, so a second activation never begins before the first one's OnDeactivateAsync has ended.

using System.Diagnostics;
using ObjectStore.EmbeddedRuntime.Proxies;
using ObjectStore.EmbeddedRuntime.State;
using ObjectStore.EmbeddedRuntime.Timers;
using Orleans;
using Orleans.Runtime;
using Orleans.Storage;

namespace ObjectStore.EmbeddedRuntime.Activations;

internal sealed class Activation : SynchronizationContext, IThreadPoolWorkItem, IGrainContext
{
    // Each level costs a few hundred bytes of stack and holds its caller's turn open while it runs.
    private const int MaxInlineDepth = 12;

    // Turns run by one thread-pool work item before others get the thread.
    private const int TurnsPerQuantum = 64;

    // One turn in this many is timed.
    private const int TurnSample = 64;

    private const int MaxForwards = 8;

    private static readonly object ActivateStep = LifecycleStep.Activate;
    private static readonly object DeactivateStep = LifecycleStep.Deactivate;

    [ThreadStatic]
    private static int _inlineDepth;

    [ThreadStatic]
    private static Activation? _constructing;

    private readonly string _directoryKey;
    private Grain? _instance;
    private Queue<WorkItem>? _work;
    private Request? _firstWaiting;
    private Request? _lastWaiting;
    private int _waiting;
    private int _waitingReadOnly;
    private int _inFlight;
    private int _blocking;
    private int _blockingReadOnly;
    private int _turns;
    private Phase _phase;
    private bool _running;
    private bool _scheduled;
    private bool _crashed;
    private bool _served;
    private DeactivationOrder? _deactivation;
    private List<GrainTimer>? _timers;
    private TaskCompletionSource? _gone;
    private long _keepAliveUntilTicks = long.MinValue;

    public Activation(GrainRuntime runtime, GrainClass grainClass, string key, string directoryKey)
    {
        Runtime = runtime;
        Class = grainClass;
        Key = key;
        _directoryKey = directoryKey;
        LastUsedTicks = runtime.CoarseNowTicks;
    }

    private enum Phase : byte
    {
        New,
        Activating,
        Active,
        Deactivating,
        Gone,
    }

    public static Activation? Constructing => _constructing;

    public GrainRuntime Runtime { get; }

    public GrainClass Class { get; }

    public string Key { get; }

    public Grain Instance => _instance!;

    public GrainId GrainId => new(Class.GrainType, new IdSpan(Key));

    public object? GrainInstance => _instance;

    public IServiceProvider ActivationServices => Runtime.Services;

    public bool IsGone => _phase == Phase.Gone;

    /// <summary>The activation list's links and marks, guarded by its lock (the marks are written without).</summary>
    public Activation? Previous { get; set; }

    public Activation? Following { get; set; }

    public bool IsListed { get; set; }

    public bool IsReferenced { get; set; }

    public long LastUsedTicks { get; private set; }

    public Task Deactivated
    {
        get
        {
            lock (this)
            {
                if (_phase == Phase.Gone)
                    return Task.CompletedTask;
                _gone ??= new(Runtime.Simulation is null ? TaskCreationOptions.RunContinuationsAsynchronously : TaskCreationOptions.None);
                return _gone.Task;
            }
        }
    }

    // ---- Admission -------------------------------------------------------------------------------------------------------------

    /// <summary>Makes this thread the activation's turn for one call, where that is safe and the call may begin at once.</summary>
    public bool TryEnterInline(MethodDescriptor method)
    {
        if (_inlineDepth >= MaxInlineDepth)
            return false;
        lock (this)
        {
            if (_running || _phase != Phase.Active || _work is { Count: > 0 } || !MayBegin(method) || (_firstWaiting is not null && !Interleaves(method)))
                return false;
            _running = true;
            RecordBegin(method, keepsAlive: true);
        }

        _inlineDepth++;
        return true;
    }

    /// <summary>Ends what <see cref="TryEnterInline"/> began.</summary>
    public void ExitInline(MethodDescriptor method, bool completed)
    {
        _inlineDepth--;
        bool schedule;
        lock (this)
        {
            if (completed)
                RecordEnd(method);
            schedule = EndOwnership();
        }

        if (schedule)
            Runtime.Schedule(this);
    }

    /// <summary>Takes a request on, to be run when it may. False where the activation is gone; the caller finds another.</summary>
    /// <exception cref="LimitExceededException">Too many requests wait already.</exception>
    public bool TryAccept(Request request)
    {
        bool runHere = false;
        bool schedule = false;
        lock (this)
        {
            if (_phase == Phase.Gone)
                return false;
            request.Activation = this;
            if (_phase == Phase.Active && _deactivation is null && Interleaves(request.Method))
            {
                RecordBegin(request.Method, request.KeepsAlive);
                AddWork(new WorkItem(request, null));
            }
            else
            {
                if (_waiting >= Runtime.Options.MaxQueuedRequestsPerActivation && !request.IsLocal)
                    throw new LimitExceededException($"Grain {GrainId} has {_waiting} requests waiting, the limit; {request.Method} was not executed.");
                AddWaiting(request);
            }

            if (!_running && !_scheduled && HasNext())
            {
                // The first call to a grain runs where it is: there is no queue to join, and it saves a switch of threads.
                if (_phase == Phase.New && Runtime.InlineCalls && _inlineDepth < MaxInlineDepth && !request.Method.OneWay)
                    runHere = _running = true;
                else
                    schedule = _scheduled = true;
            }
        }

        if (runHere)
            RunInline(turns: 2);
        else if (schedule)
            Runtime.Schedule(this);
        return true;
    }

    /// <summary>Called in a turn when a request has ended, successfully or not.</summary>
    public void OnRequestEnded(Request request)
    {
        lock (this)
        {
            RecordEnd(request.Method);
            if (request.KeepsAlive)
                LastUsedTicks = Runtime.CoarseNowTicks;
        }
    }

    /// <summary>Called in a turn when a call ends with an exception.</summary>
    public void OnRequestFailed(Exception exception)
    {
        // The grain's copy of its state is stale: let the next call begin from the stored one.
        if (exception is InconsistentStateException)
            Deactivate(new DeactivationReason(DeactivationReasonCode.ApplicationError, exception, "Another activation changed the stored state."));
    }

    // ---- SynchronizationContext ------------------------------------------------------------------------------------------------

    public override void Post(SendOrPostCallback d, object? state)
    {
        bool schedule = false;
        lock (this)
        {
            if (_crashed)
                return;
            AddWork(new WorkItem(d, state));
            if (!_running && !_scheduled)
                schedule = _scheduled = true;
        }

        if (schedule)
            Runtime.Schedule(this);
    }

    public override void Send(SendOrPostCallback d, object? state) =>
        throw new NotSupportedException("A grain's turn cannot be entered synchronously; call the grain through a reference.");

    public override SynchronizationContext CreateCopy() => this;

    // ---- Turns -----------------------------------------------------------------------------------------------------------------

    void IThreadPoolWorkItem.Execute() => Execute(TurnsPerQuantum);

    /// <summary>Runs up to that many turns. Called by the scheduler, once for each time it was asked to.</summary>
    public void Execute(int turns)
    {
        lock (this)
        {
            _scheduled = false;
            if (_running)
                return;
            _running = true;
        }

        RunTurns(turns);
    }

    private void RunInline(int turns)
    {
        ExecutionContext? context = ExecutionContext.Capture();
        _inlineDepth++;
        RunTurns(turns);
        _inlineDepth--;
        if (context is not null && !ReferenceEquals(ExecutionContext.Capture(), context))
            ExecutionContext.Restore(context);
    }

    // This thread has set _running.
    private void RunTurns(int turns)
    {
        SynchronizationContext? outer = Current;
        SetSynchronizationContext(this);
        while (true)
        {
            WorkItem item;
            bool schedule;
            lock (this)
            {
                if (turns-- <= 0 || !TryTake(out item))
                {
                    schedule = EndOwnership();
                    goto Ended;
                }
            }

            RunTurn(item);
            continue;

        Ended:
            SetSynchronizationContext(outer);
            if (schedule)
                Runtime.Schedule(this);
            return;
        }
    }

    private void RunTurn(WorkItem item)
    {
        // Outside the lock: turns of one activation never overlap.
        long began = ++_turns % TurnSample == 0 && Runtime.Meters.TurnDurationEnabled ? Stopwatch.GetTimestamp() : 0;
        try
        {
            switch (item.Target)
            {
                case SendOrPostCallback callback:
                    callback(item.State);
                    break;
                case Request request:
                    request.Run();
                    break;
                case LifecycleStep.Activate:
                    _ = ActivateAsync();
                    break;
                case LifecycleStep.Deactivate:
                    _ = DeactivateAsync();
                    break;
            }
        }
        catch (Exception exception)
        {
            // Only an async void method of the grain gets here: nobody else can be told.
            Runtime.LogTurnFailure(this, exception);
        }

        if (began != 0)
            Runtime.Meters.RecordTurn(Stopwatch.GetElapsedTime(began));
    }

    // The rest of this region is called under the lock.

    private bool EndOwnership()
    {
        _running = false;
        return !_scheduled && (_scheduled = HasNext());
    }

    private bool HasNext()
    {
        if (_work is { Count: > 0 })
            return true;
        return _phase switch
        {
            Phase.New => _firstWaiting is not null || _deactivation is not null,
            Phase.Active when _deactivation is not null => _inFlight == 0,
            Phase.Active => _firstWaiting is { } first && (first.IsAbandoned || MayBegin(first.Method) || ReadersMayPass()),
            _ => false,
        };
    }

    private bool TryTake(out WorkItem item)
    {
        if (_work is { Count: > 0 })
        {
            item = _work.Dequeue();
            return true;
        }

        item = default;
        switch (_phase)
        {
            case Phase.New when _firstWaiting is not null || _deactivation is not null:
                _phase = Phase.Activating;
                item = new WorkItem(ActivateStep, null);
                return true;
            case Phase.Active when _deactivation is not null:
                if (_inFlight > 0)
                    return false;
                _phase = Phase.Deactivating;
                item = new WorkItem(DeactivateStep, null);
                return true;
            case Phase.Active:
                Request? request = TakeWaiting();
                if (request is null)
                    return false;
                RecordBegin(request.Method, request.KeepsAlive);
                item = new WorkItem(request, null);
                return true;
            default:
                return false;
        }
    }

    private Request? TakeWaiting()
    {
        while (_firstWaiting is { } first && (first.IsAbandoned || MayBegin(first.Method)))
        {
            RemoveWaiting(null, first);
            if (!first.IsAbandoned)
                return first;
        }

        if (_firstWaiting is null || !ReadersMayPass())
            return null;
        Request? before = null;
        for (Request? request = _firstWaiting; request is not null; before = request, request = request.NextWaiting)
        {
            if (!request.Method.ReadOnly)
                continue;
            RemoveWaiting(before, request);
            return request;
        }

        return null;
    }

    private bool Interleaves(MethodDescriptor method) => method.AlwaysInterleave || Class.IsReentrant;

    private bool ReadersMayPass() => _waitingReadOnly > 0 && _blocking > 0 && _blocking == _blockingReadOnly;

    private bool MayBegin(MethodDescriptor method) =>
        _deactivation is null && (_blocking == 0 || Interleaves(method) || (method.ReadOnly && _blocking == _blockingReadOnly));

    private void RecordBegin(MethodDescriptor method, bool keepsAlive)
    {
        _inFlight++;
        bool usedBefore = _served;
        _served = true;
        if (!Interleaves(method))
        {
            _blocking++;
            if (method.ReadOnly)
                _blockingReadOnly++;
        }

        if (!keepsAlive)
            return;
        LastUsedTicks = Runtime.CoarseNowTicks;
        // The call that created it is not a sign that it will be used again: what is called once goes before what is called often.
        if (usedBefore && !IsReferenced)
            IsReferenced = true;
    }

    private void RecordEnd(MethodDescriptor method)
    {
        _inFlight--;
        if (Interleaves(method))
            return;
        _blocking--;
        if (method.ReadOnly)
            _blockingReadOnly--;
    }

    private void AddWork(WorkItem item) => (_work ??= new Queue<WorkItem>(2)).Enqueue(item);

    private void AddWaiting(Request request)
    {
        request.NextWaiting = null;
        if (_lastWaiting is null)
            _firstWaiting = request;
        else
            _lastWaiting.NextWaiting = request;
        _lastWaiting = request;
        _waiting++;
        Runtime.Meters.ChangeQueued(1);
        if (request.Method.ReadOnly)
            _waitingReadOnly++;
    }

    private void RemoveWaiting(Request? before, Request request)
    {
        if (before is null)
            _firstWaiting = request.NextWaiting;
        else
            before.NextWaiting = request.NextWaiting;
        if (ReferenceEquals(_lastWaiting, request))
            _lastWaiting = before;
        request.NextWaiting = null;
        _waiting--;
        Runtime.Meters.ChangeQueued(-1);
        if (request.Method.ReadOnly)
            _waitingReadOnly--;
    }

    // ---- Life ------------------------------------------------------------------------------------------------------------------

    public void Deactivate(DeactivationReason deactivationReason, CancellationToken cancellationToken = default)
    {
        bool schedule = false;
        lock (this)
        {
            if (_phase >= Phase.Deactivating || _deactivation is not null)
                return;
            _deactivation = new DeactivationOrder(deactivationReason);
            if (!_running && !_scheduled && HasNext())
                schedule = _scheduled = true;
        }

        if (schedule)
            Runtime.Schedule(this);
    }

    public void DelayDeactivation(TimeSpan delay)
    {
        lock (this)
        {
            _keepAliveUntilTicks = delay == Timeout.InfiniteTimeSpan || delay == TimeSpan.MaxValue ? long.MaxValue
                : delay <= TimeSpan.Zero ? long.MinValue
                : Runtime.NowTicks + delay.Ticks;
        }
    }

    /// <summary>Deactivates where nothing is running or waiting, and the idle age has passed unless the bound forces it.</summary>
    /// <param name="reason">Given to OnDeactivateAsync.</param>
    /// <param name="nowTicks">Now.</param>
    /// <param name="idleBeforeTicks">Only where it was last used at or before this time.</param>
    public bool TryCollect(DeactivationReason reason, long nowTicks, long idleBeforeTicks)
    {
        TaskCompletionSource? gone = null;
        bool needsTurn;
        bool runHere = false;
        lock (this)
        {
            if (_phase != Phase.Active || _running || _scheduled || _inFlight > 0 || _firstWaiting is not null || _work is { Count: > 0 } || _deactivation is not null
                || LastUsedTicks > idleBeforeTicks || _keepAliveUntilTicks > nowTicks)
                return false;
            needsTurn = Class.NeedsDeactivationTurn || _timers is { Count: > 0 };
            if (needsTurn)
            {
                _deactivation = new DeactivationOrder(reason);
                runHere = Runtime.InlineCalls && _inlineDepth < MaxInlineDepth;
                _running = runHere;
                _scheduled = !runHere;
            }
            else
            {
                _phase = Phase.Gone;
                _instance = null;
                gone = _gone;
            }
        }

        if (!needsTurn)
        {
            Runtime.OnActivationGone(this, _directoryKey);
            gone?.TrySetResult();
        }
        else if (runHere)
        {
            RunInline(turns: 1);
        }
        else
        {
            Runtime.Schedule(this);
        }

        return true;
    }

    /// <summary>Drops the activation as a crash of its host would: no OnDeactivateAsync, no turn more, no answer to anyone.</summary>
    public void Crash()
    {
        TaskCompletionSource? gone;
        lock (this)
        {
            if (_phase == Phase.Gone)
                return;
            _crashed = true;
            _phase = Phase.Gone;
            _work?.Clear();
            Runtime.Meters.ChangeQueued(-_waiting);
            _firstWaiting = _lastWaiting = null;
            _waiting = _waitingReadOnly = 0;
            gone = _gone;
        }

        DisposeTimers();
        Runtime.OnActivationGone(this, _directoryKey);
        gone?.TrySetResult();
    }

    private async Task ActivateAsync()
    {
        try
        {
            PersistentState[] states;
            Activation? outer = _constructing;
            _constructing = this;
            try
            {
                _instance = Class.Create(this, Runtime.Services, out states);
            }
            finally
            {
                _constructing = outer;
            }

            if (states.Length > 0 || Class.ActivatesItself)
                await PrepareAsync(states);
        }
        catch (Exception exception)
        {
            await DisposeInstanceAsync();
            End(exception);
            return;
        }

        lock (this)
            _phase = Phase.Active;
    }

    private async Task PrepareAsync(PersistentState[] states)
    {
        using CancellationTokenSource timeout = new(Runtime.Options.ActivationTimeout, Runtime.Time);
        try
        {
            foreach (PersistentState state in states)
                await state.ReadStateAsync(timeout.Token);
            Task activating = Instance.OnActivateAsync(timeout.Token);
            if (activating.IsCompleted)
                await activating;
            else
                await activating.WaitAsync(timeout.Token);
        }
        catch (OperationCanceledException exception) when (timeout.IsCancellationRequested)
        {
            throw new TimeoutException($"Grain {GrainId} did not activate within {Runtime.Options.ActivationTimeout}.", exception);
        }
    }

    private async Task DeactivateAsync()
    {
        DeactivationReason reason = _deactivation!.Reason;
        DisposeTimers();
        if (Class.NeedsDeactivationTurn)
        {
            using CancellationTokenSource timeout = new(Runtime.Options.DeactivationTimeout, Runtime.Time);
            try
            {
                Task deactivating = Instance.OnDeactivateAsync(reason, timeout.Token);
                if (deactivating.IsCompleted)
                    await deactivating;
                else
                    await deactivating.WaitAsync(timeout.Token);
            }
            catch (Exception exception)
            {
                Runtime.LogDeactivationFailure(this, exception);
            }

            await DisposeInstanceAsync();
        }

        End(null);
    }

    private async ValueTask DisposeInstanceAsync()
    {
        try
        {
            if (_instance is IAsyncDisposable asynchronous)
                await asynchronous.DisposeAsync();
            else
                (_instance as IDisposable)?.Dispose();
        }
        catch (Exception exception)
        {
            Runtime.LogDeactivationFailure(this, exception);
        }
    }

    // Turns still posted run after this, so that methods the grain didn't wait for reach their finally blocks.
    private void End(Exception? failure)
    {
        Request? request;
        bool served;
        TaskCompletionSource? gone;
        lock (this)
        {
            if (_phase == Phase.Gone)
                return;
            _phase = Phase.Gone;
            request = _firstWaiting;
            Runtime.Meters.ChangeQueued(-_waiting);
            _firstWaiting = _lastWaiting = null;
            _waiting = _waitingReadOnly = 0;
            served = _served;
            gone = _gone;
        }

        DisposeTimers();
        Runtime.OnActivationGone(this, _directoryKey);
        gone?.TrySetResult();
        while (request is not null)
        {
            Request? next = request.NextWaiting;
            request.NextWaiting = null;
            if (failure is not null)
                FailWaiting(request, failure);
            else if (request is CallRequest { IsAbandoned: false } call)
                Forward(call, served);
            request = next;
        }
    }

    private void FailWaiting(Request request, Exception failure)
    {
        if (request is CallRequest call && Runtime.Simulation is { } simulation)
            simulation.Fail(call, failure);
        else
            request.Fail(failure);
        if (request is CallRequest waiting)
            Runtime.Timeouts.Remove(waiting);
    }

    private void Forward(CallRequest call, bool served)
    {
        call.Forwards = served ? 0 : call.Forwards + 1;
        if (call.Forwards > MaxForwards)
        {
            FailWaiting(call, new OrleansMessageRejectionException($"Grain {GrainId} went away {MaxForwards} times without serving a request."));
            return;
        }

        try
        {
            Runtime.Resend(call);
        }
        catch (OrleansException exception)
        {
            FailWaiting(call, exception);
        }
    }

    // ---- Timers ----------------------------------------------------------------------------------------------------------------

    public IGrainTimer AddTimer<TState>(Func<TState, CancellationToken, Task> callback, TState state, GrainTimerCreationOptions options)
    {
        GrainTimer<TState> timer = new(this, callback, state, options);
        lock (this)
        {
            if (_phase >= Phase.Deactivating)
                throw new InvalidOperationException($"Grain {GrainId} is deactivating and takes no more timers.");
            _timers ??= [];
            if (_timers.Count >= Runtime.Options.MaxTimersPerActivation)
                throw new LimitExceededException($"Grain {GrainId} has {_timers.Count} timers, the limit.");
            _timers.Add(timer);
        }

        timer.Start(options.DueTime);
        return timer;
    }

    public void RemoveTimer(GrainTimer timer)
    {
        lock (this)
            _timers?.Remove(timer);
    }

    private void DisposeTimers()
    {
        GrainTimer[] timers;
        lock (this)
        {
            if (_timers is null)
                return;
            timers = [.. _timers];
            _timers = null;
        }

        foreach (GrainTimer timer in timers)
            timer.Dispose();
    }

    private readonly record struct WorkItem(object Target, object? State);

    private enum LifecycleStep
    {
        Activate,
        Deactivate,
    }

    private sealed class DeactivationOrder(DeactivationReason reason)
    {
        public DeactivationReason Reason { get; } = reason;
    }
}
