using Orleans.Runtime;

namespace ObjectStore.EmbeddedRuntime.Proxies;

/// <summary>One call's arguments, as a generated struct with a typed field per parameter, so that nothing is boxed.</summary>
internal interface IInvokable<TReturn>
{
    /// <summary>The cancellation token among the arguments, or none.</summary>
    CancellationToken CancellationToken { get; }

    TReturn Invoke(object target);
}

/// <summary>What the runtime must know of a grain method to admit a call to it.</summary>
internal sealed class MethodDescriptor(string interfaceName, string name, bool alwaysInterleave, bool readOnly, bool oneWay, TimeSpan? responseTimeout)
{
    public static readonly MethodDescriptor TimerTick = new("Timer", "Tick", false, false, false, null);
    public static readonly MethodDescriptor InterleavingTimerTick = new("Timer", "Tick", true, false, false, null);

    public readonly bool AlwaysInterleave = alwaysInterleave;
    public readonly bool ReadOnly = readOnly;
    public readonly bool OneWay = oneWay;
    public readonly TimeSpan? ResponseTimeout = responseTimeout;
    public readonly string InterfaceName = interfaceName;
    public readonly string Name = name;

    public override string ToString() => $"{InterfaceName}.{Name}";
}

/// <summary>The descriptor of the method that a generated struct calls. Set once, before the first proxy of its interface exists.</summary>
internal static class MethodOf<TInvokable>
{
    public static MethodDescriptor Descriptor = null!;

    public static void Set(MethodDescriptor descriptor) => Descriptor = descriptor;
}

/// <summary>The result of a method that returns none.</summary>
internal readonly struct VoidResult;

/// <summary>How the runtime handles one of the four kinds of return type.</summary>
internal interface IReturnShape<TReturn, TResult>
{
    static abstract bool IsCompleted(TReturn value);

    /// <summary>The exception of a completed call, or null.</summary>
    static abstract Exception? ErrorOf(TReturn value);

    static abstract Task ToTask(TReturn value);

    static abstract TReturn FromReply(Task<TResult> reply);

    static abstract TReturn FromException(Exception exception);

    static abstract TReturn FromNothing();

    /// <summary>Passes the outcome of a completed task on, exceptions unchanged.</summary>
    static abstract void Reply(TaskCompletionSource<TResult> reply, Task completed);
}

internal readonly struct TaskShape : IReturnShape<Task, VoidResult>
{
    public static bool IsCompleted(Task value) => value.IsCompleted;

    public static Exception? ErrorOf(Task value) => value.IsFaulted ? value.Exception!.InnerException : null;

    public static Task ToTask(Task value) => value;

    public static Task FromReply(Task<VoidResult> reply) => reply;

    public static Task FromException(Exception exception) => FailedTask.Of(exception);

    public static Task FromNothing() => Task.CompletedTask;

    public static void Reply(TaskCompletionSource<VoidResult> reply, Task completed) => FailedTask.ReplyVoid(reply, completed);
}

internal readonly struct TaskShape<T> : IReturnShape<Task<T>, T>
{
    public static bool IsCompleted(Task<T> value) => value.IsCompleted;

    public static Exception? ErrorOf(Task<T> value) => value.IsFaulted ? value.Exception!.InnerException : null;

    public static Task ToTask(Task<T> value) => value;

    public static Task<T> FromReply(Task<T> reply) => reply;

    public static Task<T> FromException(Exception exception) => FailedTask.Of<T>(exception);

    public static Task<T> FromNothing() => Task.FromResult(default(T)!);

    public static void Reply(TaskCompletionSource<T> reply, Task completed)
    {
        // Already complete only where the caller got its timeout first.
        if (!reply.Task.IsCompleted)
            reply.TrySetFromTask((Task<T>)completed);
    }
}

internal readonly struct ValueTaskShape : IReturnShape<ValueTask, VoidResult>
{
    public static bool IsCompleted(ValueTask value) => value.IsCompleted;

    public static Exception? ErrorOf(ValueTask value) => value.IsFaulted ? value.AsTask().Exception!.InnerException : null;

    public static Task ToTask(ValueTask value) => value.AsTask();

    public static ValueTask FromReply(Task<VoidResult> reply) => new(reply);

    public static ValueTask FromException(Exception exception) => new(FailedTask.Of(exception));

    public static ValueTask FromNothing() => default;

    public static void Reply(TaskCompletionSource<VoidResult> reply, Task completed) => FailedTask.ReplyVoid(reply, completed);
}

internal readonly struct ValueTaskShape<T> : IReturnShape<ValueTask<T>, T>
{
    public static bool IsCompleted(ValueTask<T> value) => value.IsCompleted;

    public static Exception? ErrorOf(ValueTask<T> value) => value.IsFaulted ? value.AsTask().Exception!.InnerException : null;

    public static Task ToTask(ValueTask<T> value) => value.AsTask();

    public static ValueTask<T> FromReply(Task<T> reply) => new(reply);

    public static ValueTask<T> FromException(Exception exception) => new(FailedTask.Of<T>(exception));

    public static ValueTask<T> FromNothing() => default;

    public static void Reply(TaskCompletionSource<T> reply, Task completed)
    {
        if (!reply.Task.IsCompleted)
            reply.TrySetFromTask((Task<T>)completed);
    }
}

internal static class FailedTask
{
    // As an async method would: a cancellation becomes a cancelled task, not a faulted one.
    public static Task Of(Exception exception) =>
        exception is OperationCanceledException { CancellationToken.IsCancellationRequested: true } cancelled
            ? Task.FromCanceled(cancelled.CancellationToken)
            : Task.FromException(exception);

    public static Task<T> Of<T>(Exception exception) =>
        exception is OperationCanceledException { CancellationToken.IsCancellationRequested: true } cancelled
            ? Task.FromCanceled<T>(cancelled.CancellationToken)
            : Task.FromException<T>(exception);

    public static void ReplyVoid(TaskCompletionSource<VoidResult> reply, Task completed)
    {
        if (reply.Task.IsCompleted)
            return;
        if (completed.IsCompletedSuccessfully)
            reply.TrySetResult(default);
        else if (completed.IsFaulted)
            reply.TrySetException(completed.Exception!.InnerExceptions);
        else
            reply.TrySetCanceled(CancellationOf(completed));
    }

    private static CancellationToken CancellationOf(Task cancelled)
    {
        try
        {
            cancelled.GetAwaiter().GetResult();
            return default;
        }
        catch (OperationCanceledException exception)
        {
            return exception.CancellationToken;
        }
    }
}
