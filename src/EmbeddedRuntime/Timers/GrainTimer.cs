using ObjectStore.EmbeddedRuntime.Activations;
using ObjectStore.EmbeddedRuntime.Proxies;
using Orleans.Runtime;

namespace ObjectStore.EmbeddedRuntime.Timers;

/// <summary>
/// A timer of one activation. The clock only asks the activation to run the callback; the next period begins when the run has ended, so
/// at most one tick of a timer is ever queued or running.
/// </summary>
internal abstract class GrainTimer : Request, IGrainTimer
{
    private readonly Activation _activation;
    private readonly bool _keepsAlive;
    private readonly CancellationTokenSource _ended = new();
    private readonly ITimer _clock;
    private TimeSpan _period;
    private int _busy;
    private volatile bool _changed;
    private volatile bool _disposed;

    protected GrainTimer(Activation activation, GrainTimerCreationOptions options)
        : base(options.Interleave ? MethodDescriptor.InterleavingTimerTick : MethodDescriptor.TimerTick)
    {
        RequireTime(options.DueTime, nameof(options.DueTime));
        RequireTime(options.Period, nameof(options.Period));
        _activation = activation;
        _keepsAlive = options.KeepAlive;
        _period = options.Period;
        using (SuppressedFlow.Begin())
        {
            _clock = activation.Runtime.Time.CreateTimer(
                static state => ((GrainTimer)state!).Tick(), this, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
        }
    }

    public override bool IsLocal => true;

    public override bool KeepsAlive => _keepsAlive;

    public override bool IsAbandoned => false;

    public void Start(TimeSpan dueTime) => _clock.Change(dueTime, Timeout.InfiniteTimeSpan);

    public void Change(TimeSpan dueTime, TimeSpan period)
    {
        RequireTime(dueTime, nameof(dueTime));
        RequireTime(period, nameof(period));
        if (_disposed)
            throw new ObjectDisposedException(nameof(IGrainTimer), "The timer has been disposed, or its grain was deactivated.");
        _period = period;
        _changed = true;
        _clock.Change(dueTime, Timeout.InfiniteTimeSpan);
    }

    public void Dispose()
    {
        if (_disposed)
            return;
        _disposed = true;
        _clock.Dispose();
        _activation.RemoveTimer(this);
        _ended.Cancel();
    }

    public override void Run()
    {
        if (_disposed)
        {
            _activation.OnRequestEnded(this);
            return;
        }

        _changed = false;
        Task running;
        try
        {
            running = Invoke(_ended.Token) ?? Task.CompletedTask;
        }
        catch (Exception exception)
        {
            running = Task.FromException(exception);
        }

        if (running.IsCompleted)
            Ended(running);
        else
            running.GetAwaiter().UnsafeOnCompleted(() => Ended(running));
    }

    public override void Fail(Exception exception)
    {
    }

    protected abstract Task Invoke(CancellationToken cancellationToken);

    private static void RequireTime(TimeSpan value, string name)
    {
        if (value < TimeSpan.Zero && value != Timeout.InfiniteTimeSpan)
            throw new ArgumentOutOfRangeException(name, value, "A grain timer's times are zero or more, or Timeout.InfiniteTimeSpan.");
    }

    private void Tick()
    {
        if (_disposed || Interlocked.Exchange(ref _busy, 1) == 1)
            return;
        if (!_activation.TryAccept(this))
            Dispose();
    }

    private void Ended(Task run)
    {
        if (run.IsFaulted && !_disposed)
            _activation.Runtime.LogTimerFailure(_activation, run.Exception!.InnerException!);
        Volatile.Write(ref _busy, 0);
        _activation.OnRequestEnded(this);
        // A zero period, like an infinite one, means a single run.
        if (!_disposed && !_changed && _period > TimeSpan.Zero)
            _clock.Change(_period, Timeout.InfiniteTimeSpan);
    }
}

internal sealed class GrainTimer<TState>(Activation activation, Func<TState, CancellationToken, Task> callback, TState state, GrainTimerCreationOptions options)
    : GrainTimer(activation, options)
{
    protected override Task Invoke(CancellationToken cancellationToken) => callback(state, cancellationToken);
}
