using ObjectStore.Silo.Hosting;
using ObjectStore.Storage;

namespace ObjectStore.Silo.Tests.Hosting;

public sealed class OneAsksTests
{
    private static readonly TimeSpan Long = TimeSpan.FromMinutes(5);
    private readonly TaskCompletionSource _answer = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private volatile bool _known;
    private int _asked;

    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Callers_WhoWaitForAnAnswer_FindIt()
    {
        using OneAsks one = new(Long, TimeProvider.System);
        Task[] callers = [.. Enumerable.Range(0, 50).Select(_ => AskAsync(one))];
        Assert.DoesNotContain(callers, caller => caller.IsCompleted);
        _answer.SetResult();
        await Task.WhenAll(callers).WaitAsync(Stop);
        Assert.Equal(1, _asked);
    }

    [Fact]
    public async Task Callers_WhoWaitedForAQuestionThatFailed_FailWithIt_AndTheNextOneAsksAnew()
    {
        using OneAsks one = new(Long, TimeProvider.System);
        Task[] callers = [.. Enumerable.Range(0, 50).Select(_ => AskAsync(one))];
        _answer.SetException(new PlacementUnavailableException("injected"));
        foreach (Task caller in callers) await Assert.ThrowsAsync<PlacementUnavailableException>(() => caller.WaitAsync(Stop));
        Assert.Equal(1, _asked);
        await Assert.ThrowsAsync<PlacementUnavailableException>(() => AskAsync(one));
        Assert.Equal(2, _asked);
    }

    [Fact]
    public async Task Caller_WaitsNoLongerThanTheLimit_ForOthersAndForTheAnswer()
    {
        using OneAsks one = new(TimeSpan.FromMilliseconds(50), TimeProvider.System);
        Task first = one.AskAsync(() => false, stop => Task.Delay(Timeout.InfiniteTimeSpan, stop).ContinueWith(_ => throw new PlacementUnavailableException("late"), TaskScheduler.Default), Stop).AsTask();
        await Assert.ThrowsAsync<PlacementUnavailableException>(() => first.WaitAsync(Stop));

        // The one before does not give way, whatever it is told.
        Task holder = AskAsync(one);
        await Assert.ThrowsAsync<PlacementUnavailableException>(() => AskAsync(one).WaitAsync(Stop));
        _answer.SetResult();
        await holder.WaitAsync(Stop);
    }

    [Fact]
    public async Task Caller_WhoIsCancelled_TakesNobodyWithIt()
    {
        using OneAsks one = new(Long, TimeProvider.System);
        using CancellationTokenSource cancelled = new();
        Task first = one.AskAsync(() => false, stop => Task.Delay(Timeout.InfiniteTimeSpan, stop), cancelled.Token).AsTask();
        Task second = AskAsync(one);
        await cancelled.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => first.WaitAsync(Stop));
        _answer.SetResult();
        await second.WaitAsync(Stop);
        Assert.Equal(1, _asked);
    }

    private Task AskAsync(OneAsks one) => one.AskAsync(
        () => _known,
        async _ =>
        {
            Interlocked.Increment(ref _asked);
            await _answer.Task;
            _known = true;
        },
        Stop).AsTask();
}
