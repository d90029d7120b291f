using ObjectStore.EmbeddedRuntime.Proxies;
using Orleans.Runtime;

namespace ObjectStore.EmbeddedRuntime.Activations;

/// <summary>Something an activation is asked to run: a call, or a tick of one of its timers.</summary>
internal abstract class Request(MethodDescriptor method)
{
    public readonly MethodDescriptor Method = method;

    /// <summary>The activation that was given this request.</summary>
    public Activation? Activation;

    /// <summary>The next in the activation's waiting list, guarded by its lock.</summary>
    public Request? NextWaiting;

    /// <summary>Whether it belongs to one activation and ends with it, rather than moving on to the next.</summary>
    public virtual bool IsLocal => false;

    /// <summary>Whether running counts as use of the activation.</summary>
    public virtual bool KeepsAlive => true;

    /// <summary>Whether nobody waits for it any more.</summary>
    public abstract bool IsAbandoned { get; }

    /// <summary>Begins the request, as a turn of <see cref="Activation"/>, which counts it as running until told of its end.</summary>
    public abstract void Run();

    /// <summary>Ends it without running it.</summary>
    public abstract void Fail(Exception exception);
}

/// <summary>A call by someone who may wait for the answer: what the runtime handles without knowing the call's types.</summary>
internal abstract class CallRequest(GrainClass grainClass, string key, MethodDescriptor method, GrainRuntime runtime) : Request(method)
{
    public readonly GrainClass Class = grainClass;
    public readonly string Key = key;
    protected readonly GrainRuntime Runtime = runtime;

    /// <summary>The caller's execution context, in which the call begins.</summary>
    public ExecutionContext? Context;

    /// <summary>How often activations went away without serving it or any other request.</summary>
    public int Forwards;

    // Guarded by the lock of the timeout list that holds it.
    public CallRequest? EarlierDeadline;
    public CallRequest? LaterDeadline;
    public TimeoutStripe? Stripe;
    public long DeadlineTicks;

    public GrainId GrainId => new(Class.GrainType, new IdSpan(Key));

    /// <summary>Gives the caller the outcome. In a simulation this is an event of its own, after the call has ended.</summary>
    public abstract void DeliverReply();

    public void TimeOut(TimeSpan timeout) =>
        Fail(new TimeoutException($"{Method} of grain {GrainId} did not answer within {timeout}. It may still run, or wait for a grain that waits for it."));
}

/// <summary>One call with its arguments, and the promise of its answer.</summary>
internal sealed class Call<TInvokable, TReturn, TResult, TShape> : CallRequest
    where TInvokable : struct, IInvokable<TReturn>
    where TShape : struct, IReturnShape<TReturn, TResult>
{
    private const int Waiting = 0;
    private const int Started = 1;
    private const int Cancelled = 2;

    private readonly TaskCompletionSource<TResult> _reply;
    private TInvokable _arguments;
    private Task? _running;
    private int _progress;
    private CancellationTokenRegistration _cancellation;

    public Call(GrainClass grainClass, string key, MethodDescriptor method, TInvokable arguments, GrainRuntime runtime)
        : base(grainClass, key, method, runtime)
    {
        _arguments = arguments;
        // A simulation must stay on its thread, so it delivers replies from outside any turn and lets continuations run there.
        _reply = new(runtime.Simulation is null ? TaskCreationOptions.RunContinuationsAsynchronously : TaskCreationOptions.None);
    }

    public TReturn Answer => TShape.FromReply(_reply.Task);

    public override bool IsAbandoned => _reply.Task.IsCompleted;

    /// <summary>Cancels the call where the caller's token is cancelled before it begins. Later the token is the grain's to watch.</summary>
    public void WatchCaller()
    {
        CancellationToken token = _arguments.CancellationToken;
        if (token.CanBeCanceled)
            _cancellation = token.UnsafeRegister(static state => ((Call<TInvokable, TReturn, TResult, TShape>)state!).CancelWaiting(), this);
    }

    public override void Run()
    {
        if (Interlocked.CompareExchange(ref _progress, Started, Waiting) != Waiting)
        {
            Activation!.OnRequestEnded(this);
            return;
        }

        _cancellation.Unregister();
        if (Context is null)
            Begin();
        else
            ExecutionContext.Run(Context, static state => ((Call<TInvokable, TReturn, TResult, TShape>)state!).Begin(), this);
    }

    /// <summary>Takes over a call that began inline and didn't complete.</summary>
    public void Adopt(Activation activation, Task running)
    {
        Activation = activation;
        _progress = Started;
        AwaitEnd(running);
    }

    public override void Fail(Exception exception)
    {
        _cancellation.Unregister();
        if (!_reply.TrySetException(exception) || !Method.OneWay)
            return;
        // Nobody awaits it: looking at it here keeps it from being reported as unobserved.
        _ = _reply.Task.Exception;
        Runtime.LogOneWayFailure(this, exception);
    }

    public override void DeliverReply()
    {
        if (Method.OneWay)
        {
            if (_running!.IsFaulted)
                Runtime.LogOneWayFailure(this, _running.Exception!.InnerException!);
            return;
        }

        // The answer first, then the list: whoever adds this call to the list at the same time looks at the answer afterwards.
        TShape.Reply(_reply, _running!);
        Runtime.Timeouts.Remove(this);
    }

    private void CancelWaiting()
    {
        if (Interlocked.CompareExchange(ref _progress, Cancelled, Waiting) != Waiting)
            return;
        _reply.TrySetCanceled(_arguments.CancellationToken);
        Runtime.Timeouts.Remove(this);
    }

    private void Begin()
    {
        Task running;
        try
        {
            TReturn returned = _arguments.Invoke(Activation!.Instance);
            running = returned is null
                ? Task.FromException(new InvalidOperationException($"{Method} of grain {GrainId} returned null instead of a task."))
                : TShape.ToTask(returned);
        }
        catch (Exception exception)
        {
            running = TShape.ToTask(TShape.FromException(exception));
        }

        if (running.IsCompleted)
        {
            _running = running;
            End();
        }
        else
        {
            AwaitEnd(running);
        }
    }

    // Runs with the activation's context current, so the end of the call is itself a turn of the activation.
    private void AwaitEnd(Task running)
    {
        _running = running;
        running.GetAwaiter().UnsafeOnCompleted(End);
    }

    private void End()
    {
        Activation activation = Activation!;
        if (_running!.IsFaulted)
            activation.OnRequestFailed(_running.Exception!.InnerException!);
        activation.OnRequestEnded(this);
        if (Runtime.Simulation is { } simulation)
            simulation.Reply(this);
        else
            DeliverReply();
    }
}
