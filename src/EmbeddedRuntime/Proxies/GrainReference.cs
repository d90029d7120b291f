using System.Runtime.CompilerServices;
using ObjectStore.EmbeddedRuntime.Activations;
using ObjectStore.EmbeddedRuntime.Proxies;

namespace Orleans.Runtime;

/// <summary>
/// A reference to a grain: what <see cref="IGrainFactory"/> returns. Generated classes derive from it, one per interface. Equal to
/// another reference of the same interface to the same grain. Safe for concurrent use.
/// </summary>
public abstract class GrainReference : IAddressable, IEquatable<GrainReference>
{
    private readonly GrainClass _class;
    private readonly string _key;

    // Where the last call went: saves the directory's lookup. An activation that is gone refuses the call, and is then forgotten.
    private Activation? _lastActivation;

    internal GrainReference(GrainRuntime runtime, GrainClass grainClass, string key)
    {
        Runtime = runtime;
        _class = grainClass;
        _key = key;
    }

    public GrainId GrainId => new(_class.GrainType, new IdSpan(_key));

    internal GrainRuntime Runtime { get; }

    internal GrainClass Class => _class;

    internal string Key => _key;

    public bool Equals(GrainReference? other) =>
        other is not null && other.GetType() == GetType() && ReferenceEquals(other._class, _class) && other._key == _key;

    public override bool Equals(object? obj) => obj is GrainReference other && Equals(other);

    public override int GetHashCode() => HashCode.Combine(_class, _key);

    public override string ToString() => $"{GetType().Name} {GrainId}";

    /// <summary>Every generated method calls this.</summary>
    internal TReturn Call<TInvokable, TReturn, TResult, TShape>(TInvokable arguments)
        where TInvokable : struct, IInvokable<TReturn>
        where TShape : struct, IReturnShape<TReturn, TResult>
    {
        MethodDescriptor method = MethodOf<TInvokable>.Descriptor;
        Runtime.Meters.CountCall();
        if (!method.OneWay && Runtime.InlineCalls)
        {
            Activation? activation = _lastActivation;
            if (activation is null || activation.IsGone)
                _lastActivation = activation = _class.IsStatelessWorker ? null : _class.Find(_key);
            if (activation is not null && activation.TryEnterInline(method))
                return CallInline<TInvokable, TReturn, TResult, TShape>(activation, method, arguments);
        }

        return CallQueued<TInvokable, TReturn, TResult, TShape>(method, arguments);
    }

    // The caller's thread is the activation's turn until the first await that doesn't complete at once.
    private TReturn CallInline<TInvokable, TReturn, TResult, TShape>(Activation activation, MethodDescriptor method, TInvokable arguments)
        where TInvokable : struct, IInvokable<TReturn>
        where TShape : struct, IReturnShape<TReturn, TResult>
    {
        ExecutionContext? callerContext = ExecutionContext.Capture();
        SynchronizationContext? callerSynchronization = SynchronizationContext.Current;
        SynchronizationContext.SetSynchronizationContext(activation);
        TReturn returned;
        try
        {
            returned = arguments.Invoke(activation.Instance);
        }
        catch (Exception exception)
        {
            returned = TShape.FromException(exception);
        }

        Call<TInvokable, TReturn, TResult, TShape>? pending = null;
        if (returned is null)
            returned = TShape.FromException(new InvalidOperationException($"{method} of grain {GrainId} returned null instead of a task."));
        if (TShape.IsCompleted(returned))
        {
            if (TShape.ErrorOf(returned) is { } error)
                activation.OnRequestFailed(error);
        }
        else
        {
            pending = new Call<TInvokable, TReturn, TResult, TShape>(_class, _key, method, arguments, Runtime);
            pending.Adopt(activation, TShape.ToTask(returned));
            returned = pending.Answer;
        }

        SynchronizationContext.SetSynchronizationContext(callerSynchronization);
        if (callerContext is not null && !ReferenceEquals(ExecutionContext.Capture(), callerContext))
            ExecutionContext.Restore(callerContext);
        activation.ExitInline(method, completed: pending is null);
        if (pending is not null)
            Runtime.Timeouts.Add(pending);
        return returned;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private TReturn CallQueued<TInvokable, TReturn, TResult, TShape>(MethodDescriptor method, TInvokable arguments)
        where TInvokable : struct, IInvokable<TReturn>
        where TShape : struct, IReturnShape<TReturn, TResult>
    {
        Call<TInvokable, TReturn, TResult, TShape> call = new(_class, _key, method, arguments, Runtime) { Context = ExecutionContext.Capture() };
        if (!method.OneWay)
            call.WatchCaller();
        Runtime.Send(call);
        if (method.OneWay)
            return TShape.FromNothing();
        if (!call.IsAbandoned)
            Runtime.Timeouts.Add(call);
        return call.Answer;
    }
}
