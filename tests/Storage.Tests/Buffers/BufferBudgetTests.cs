using ObjectStore.Storage.Buffers;
using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Tests.Extents;

namespace ObjectStore.Storage.Tests.Buffers;

public sealed class BufferBudgetTests
{
    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Excess_IsForOneOwnerAtATime_AndPassesToTheFirstWhoWaits()
    {
        var budget = new BufferBudget(10, new ManualTime());
        object first = new(), second = new(), third = new();
        await budget.TakeAsync(8, first, TimeSpan.FromSeconds(1), Stop);
        await budget.TakeAsync(8, first, TimeSpan.FromSeconds(1), Stop);
        Task waiting = budget.TakeAsync(8, second, TimeSpan.FromSeconds(1), Stop).AsTask();
        Task behind = budget.TakeAsync(8, third, TimeSpan.FromSeconds(1), Stop).AsTask();
        Assert.False(budget.TryTake(1));
        Assert.False(waiting.IsCompleted);
        await budget.TakeAsync(8, first, TimeSpan.FromSeconds(1), Stop);
        Assert.Equal(24, budget.TakenBytes);
        budget.EndExcess(second); // who has none
        Assert.False(waiting.IsCompleted);
        budget.EndExcess(first);
        await waiting;
        Assert.False(behind.IsCompleted);
        budget.Release(32);
        await behind;
        Assert.Equal(8, budget.TakenBytes);
    }

    [Fact]
    public async Task Excess_PassesToOneBehindTheFirst_WhereThatMayNotGoBeyond()
    {
        var budget = new BufferBudget(10, new ManualTime());
        object first = new(), second = new(), third = new();
        await budget.TakeAsync(5, first, TimeSpan.FromSeconds(1), Stop);
        await budget.TakeAsync(5, second, TimeSpan.FromSeconds(1), Stop);
        budget.Force(5);
        await budget.TakeAsync(5, first, TimeSpan.FromSeconds(1), Stop);
        Task small = budget.TakeAsync(1, null, TimeSpan.FromSeconds(1), Stop).AsTask();
        Task one = budget.TakeAsync(5, second, TimeSpan.FromSeconds(1), Stop).AsTask(), other = budget.TakeAsync(5, third, TimeSpan.FromSeconds(1), Stop).AsTask();

        // What is left is held by those who wait: one of them has to be able to finish.
        budget.EndExcess(first);
        budget.Release(10);
        await one;
        Assert.False(small.IsCompleted || other.IsCompleted);
        budget.Release(10);
        await small;
        Assert.False(other.IsCompleted);
        budget.EndExcess(second);
        await other;
    }

    [Fact]
    public async Task Waiting_EndsWithPatienceOrCancellation_AndTakesNothing()
    {
        var time = new ManualTime();
        var budget = new BufferBudget(10, time);
        Assert.True(budget.TryTake(10));
        Task impatient = budget.TakeAsync(5, null, TimeSpan.FromSeconds(1), Stop).AsTask();
        using var cancellation = new CancellationTokenSource();
        Task cancelled = budget.TakeAsync(5, null, TimeSpan.FromSeconds(9), cancellation.Token).AsTask();
        time.Advance(TimeSpan.FromSeconds(1));
        await Assert.ThrowsAsync<BuffersBusyException>(() => impatient);
        await cancellation.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => cancelled);
        budget.Release(10);
        Assert.Equal(0, budget.TakenBytes);
        Assert.True(budget.TryTake(100)); // alone, more than there is
    }

    [Fact]
    public async Task Waiting_BehindOneWhoGivesUp_EndsAsSoonAsThereIsRoom()
    {
        var time = new ManualTime();
        var budget = new BufferBudget(10, time);
        Assert.True(budget.TryTake(6));
        Task large = budget.TakeAsync(8, null, TimeSpan.FromSeconds(1), Stop).AsTask();
        Task small = budget.TakeAsync(4, null, TimeSpan.FromSeconds(9), Stop).AsTask();
        Assert.False(small.IsCompleted);
        time.Advance(TimeSpan.FromSeconds(1));
        await Assert.ThrowsAsync<BuffersBusyException>(() => large);
        await small.WaitAsync(TimeSpan.FromSeconds(20), Stop);
        Assert.Equal(10, budget.TakenBytes);
    }

    [Fact]
    public void Latency_IsThatOfTheLatestSamples()
    {
        var window = new LatencyWindow();
        for (int i = 0; i < 15; i++)
            window.Add(TimeSpan.FromMilliseconds(1));
        Assert.Equal(TimeSpan.Zero, window.P95);
        window.Add(TimeSpan.FromMilliseconds(1));
        Assert.Equal(TimeSpan.FromMilliseconds(1), window.P95);
        for (int i = 0; i < 128; i++)
            window.Add(TimeSpan.FromMilliseconds(i));
        Assert.Equal(TimeSpan.FromMilliseconds(121), window.P95);
    }
}
