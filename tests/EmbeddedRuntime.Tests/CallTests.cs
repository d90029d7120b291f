using Microsoft.Extensions.DependencyInjection;
using ObjectStore.EmbeddedRuntime.Simulation;
using Orleans;
using Orleans.Runtime;

namespace ObjectStore.EmbeddedRuntime.Tests;

public sealed class CallTests
{
    [Fact]
    public async Task FirstCalls_FromManyCallers_ShareOneActivation()
    {
        await using Host host = await Host.StartAsync();
        for (int round = 0; round < 200; round++)
        {
            using Barrier barrier = new(4);
            string key = $"first{round}";
            int[] numbers = await Task.WhenAll(Enumerable.Range(0, 4).Select(_ => Task.Factory.StartNew(
                () =>
                {
                    barrier.SignalAndWait();
                    return host.Grains.GetGrain<IProbeGrain>(key).ActivationNumber();
                },
                CancellationToken.None,
                TaskCreationOptions.LongRunning,
                TaskScheduler.Default).Unwrap()));
            Assert.Single(numbers.Distinct());
        }

        Assert.Equal(200, host.Activations);
    }

    [Fact]
    public async Task Calls_From64Callers_NeverOverlap()
    {
        await using Host host = await Host.StartAsync();
        IProbeGrain grain = host.Grains.GetGrain<IProbeGrain>("exclusive");
        bool[][] overlaps = await Task.WhenAll(Enumerable.Range(0, 64).Select(_ => Task.Run(async () =>
        {
            List<bool> results = [];
            for (int i = 0; i < 50; i++)
                results.Add(await grain.OverlapsAsync(i % 4));
            return results.ToArray();
        })));
        Assert.DoesNotContain(overlaps, caller => caller.Contains(true));
    }

    [Fact]
    public async Task Reentrant_RunsAnotherRequestWhileOneAwaits()
    {
        await using Host host = await Host.StartAsync();
        IReentrantGrain grain = host.Grains.GetGrain<IReentrantGrain>("r");
        Task waiting = grain.WaitAt("door");
        await grain.Open("door");
        await waiting.WaitAsync(TimeSpan.FromSeconds(30), TestContext.Current.CancellationToken);
    }

    [Fact]
    public async Task Reentrant_TurnsNeverOverlap()
    {
        await using Host host = await Host.StartAsync();
        IReentrantGrain grain = host.Grains.GetGrain<IReentrantGrain>("r");
        int[] overlaps = await Task.WhenAll(Enumerable.Range(0, 64).Select(_ => Task.Run(() => grain.LostUpdates(200))));
        Assert.Equal(0, overlaps.Sum());
    }

    [Fact]
    public async Task AlwaysInterleave_RunsWhileAnotherCallWaits_AndOrdinaryCallDoesNot()
    {
        await using Host host = await Host.StartAsync();
        IProbeGrain grain = host.Grains.GetGrain<IProbeGrain>("interleave");
        Task waiting = grain.WaitAt("door");
        Task<long> queued = grain.Count();
        await grain.Interleave();
        Assert.False(waiting.IsCompleted);
        Assert.False(queued.IsCompleted);
        host.Journal.Open("door");
        await waiting;
        Assert.Equal(1, await queued);
    }

    [Fact]
    public async Task ReadOnly_CallsInterleaveWithEachOther_AndOthersWait()
    {
        await using Host host = await Host.StartAsync();
        IProbeGrain grain = host.Grains.GetGrain<IProbeGrain>("readers");
        Task<int> first = grain.ReadAt("door");
        Task<long> writer = grain.Count();
        Task<int> second = grain.ReadAt("door");
        await host.Journal.WhenWritten("reading door", 2);
        Assert.False(writer.IsCompleted);
        host.Journal.Open("door");
        Assert.Equal<int[]>([1, 2], await Task.WhenAll(first, second));
        Assert.Equal(1, await writer);
    }

    [Fact]
    public async Task ReadOnly_QueuedBehindWriter_StartTogetherWhenItEnds()
    {
        await using Host host = await Host.StartAsync();
        IProbeGrain grain = host.Grains.GetGrain<IProbeGrain>("readers");
        Task writing = grain.WaitAt("write");
        Task<int> first = grain.ReadAt("read");
        Task<long> writer = grain.Count();
        Task<int> second = grain.ReadAt("read");
        host.Journal.Open("write");
        await writing;
        await host.Journal.WhenWritten("reading read", 2);
        host.Journal.Open("read");
        Assert.Equal<int[]>([1, 2], await Task.WhenAll(first, second));
        Assert.Equal(1, await writer);
    }

    [Fact]
    public async Task Exception_ReachesCallerUnchanged()
    {
        await using Host host = await Host.StartAsync();
        IProbeGrain grain = host.Grains.GetGrain<IProbeGrain>("throws");
        InvalidDataException exception = new("as it is");
        Assert.Same(exception, await Assert.ThrowsAsync<InvalidDataException>(() => grain.ThrowNow(exception)));
        Assert.Same(exception, await Assert.ThrowsAsync<InvalidDataException>(() => grain.ThrowNow(exception)));
        Assert.Same(exception, await Assert.ThrowsAsync<InvalidDataException>(() => grain.ThrowLater(exception)));
        Assert.Equal(1, await grain.Count());
    }

    [Fact]
    public async Task NullTask_IsAnError()
    {
        await using Host host = await Host.StartAsync();
        await Assert.ThrowsAsync<InvalidOperationException>(() => host.Grains.GetGrain<IProbeGrain>("null").ReturnNull());
        await Assert.ThrowsAsync<InvalidOperationException>(() => host.Grains.GetGrain<IProbeGrain>("null").ReturnNull());
    }

    [Fact]
    public async Task Arguments_OfEveryKind_Arrive()
    {
        await using Host host = await Host.StartAsync();
        Guid id = Guid.NewGuid();
        IProbeGrain grain = host.Grains.GetGrain<IProbeGrain>("echo");
        Assert.Equal($"text 7 {id}  (1, x)", await grain.Echo("text", 7, id, null, (1, "x")));
        Assert.Equal($"text 7 {id} 5 (1, x)", await grain.Echo("text", 7, id, 5, (1, "x")));
    }

    [Fact]
    public async Task SelfCall_EndsInTimeoutException()
    {
        await using Host host = await Host.StartVirtualAsync();
        IProbeGrain grain = host.Grains.GetGrain<IProbeGrain>("self");
        Task deadlocked = grain.CallSelf();
        host.Clock!.Advance(TimeSpan.FromSeconds(29));
        Assert.False(deadlocked.IsCompleted);
        host.Clock.Advance(TimeSpan.FromSeconds(3));
        await Assert.ThrowsAsync<TimeoutException>(() => deadlocked);
        await grain.Touch();
    }

    [Fact]
    public async Task ResponseTimeoutAttribute_OverridesTheDefault()
    {
        await using Host host = await Host.StartVirtualAsync();
        IProbeGrain grain = host.Grains.GetGrain<IProbeGrain>("brief");
        Task waiting = grain.WaitBriefly("never");
        host.Clock!.Advance(TimeSpan.FromSeconds(6));
        await Assert.ThrowsAsync<TimeoutException>(() => waiting);
        host.Journal.Open("never");
    }

    [Fact]
    public async Task TimedOutRequestInQueue_IsNotExecuted()
    {
        await using Host host = await Host.StartVirtualAsync();
        IProbeGrain grain = host.Grains.GetGrain<IProbeGrain>("queue");
        Task waiting = grain.WaitAt("door");
        Task<long> queued = grain.Count();
        host.Clock!.Advance(TimeSpan.FromSeconds(35));
        await Assert.ThrowsAsync<TimeoutException>(() => waiting);
        await Assert.ThrowsAsync<TimeoutException>(() => queued);
        host.Journal.Open("door");
        Assert.Equal(1, await grain.Count());
    }

    [Fact]
    public async Task FullQueue_RefusesWithLimitExceeded()
    {
        await using Host host = await Host.StartAsync(options => options.MaxQueuedRequestsPerActivation = 3);
        IProbeGrain grain = host.Grains.GetGrain<IProbeGrain>("full");
        Task waiting = grain.WaitAt("door");
        Task<long>[] queued = [grain.Count(), grain.Count(), grain.Count()];
        await Assert.ThrowsAsync<LimitExceededException>(() => grain.Count());
        host.Journal.Open("door");
        await waiting;
        Assert.Equal<long[]>([1, 2, 3], await Task.WhenAll(queued));
    }

    [Fact]
    public async Task CancellationToken_ReachesTheGrain()
    {
        await using Host host = await Host.StartAsync();
        using CancellationTokenSource source = new();
        Task<bool> call = host.Grains.GetGrain<IProbeGrain>("token").WaitForCancellation("started", source.Token);
        await host.Journal.WhenWritten("started");
        await source.CancelAsync();
        Assert.True(await call);
    }

    [Fact]
    public async Task CancelledWhileQueued_EndsAtOnceAndIsNotExecuted()
    {
        await using Host host = await Host.StartAsync();
        using CancellationTokenSource source = new();
        IProbeGrain grain = host.Grains.GetGrain<IProbeGrain>("token");
        Task waiting = grain.WaitAt("door");
        Task<bool> queued = grain.WaitForCancellation("queued call", source.Token);
        await source.CancelAsync();
        OperationCanceledException cancelled = await Assert.ThrowsAnyAsync<OperationCanceledException>(() => queued);
        Assert.Equal(source.Token, cancelled.CancellationToken);
        host.Journal.Open("door");
        await waiting;
        await grain.Count();
        Assert.DoesNotContain("queued call", host.Journal.Lines);
    }

    [Fact]
    public async Task OneWay_ReturnsBeforeTheCallEnds_AndReportsNoFailure()
    {
        await using Host host = await Host.StartAsync();
        IProbeGrain grain = host.Grains.GetGrain<IProbeGrain>("oneway");
        Task sent = grain.Notify("door", new InvalidDataException());
        Assert.True(sent.IsCompletedSuccessfully);
        host.Journal.Open("door");
        await host.Journal.WhenWritten("notified door");
        Assert.Equal(1, await grain.Count());
    }

    [Fact]
    public async Task DeepCallChain_NeitherOverflowsNorDeadlocks()
    {
        await using Host host = await Host.StartAsync();
        Assert.Equal(3000, await host.Grains.GetGrain<IProbeGrain>("chain").Chain(3000));
    }

    [Fact]
    public async Task AwaitInsideGrain_ResumesInItsTurn_AndCallersDoNot()
    {
        await using Host host = await Host.StartAsync();
        IProbeGrain grain = host.Grains.GetGrain<IProbeGrain>("context");
        Assert.True(await Task.Run(async () =>
        {
            bool inTurn = await grain.ResumesInTurn();
            // Were this still inside the grain's turn, the grain could not take the next call.
            Assert.Null(SynchronizationContext.Current);
            await grain.Touch();
            return inTurn;
        }));
    }

    [Fact]
    public async Task RequestContext_FlowsToTheCallee_AndNotBack()
    {
        await using Host host = await Host.StartAsync();
        IProbeGrain grain = host.Grains.GetGrain<IProbeGrain>("rc");
        await grain.Touch();
        RequestContext.Set("who", "caller");
        Assert.Equal("caller", await grain.ReadContext("who"));
        await grain.SetContext("who", "callee");
        Assert.Equal("caller", RequestContext.Get("who"));
        Task waiting = grain.WaitAt("door");
        Task<string?> queued = grain.ReadContext("who");
        RequestContext.Remove("who");
        host.Journal.Open("door");
        await waiting;
        Assert.Equal("caller", await queued);
        Assert.Null(RequestContext.Get("who"));
    }

    [Fact]
    public async Task References_AreEqualByInterfaceAndIdentity()
    {
        await using Host host = await Host.StartAsync();
        IProbeGrain one = host.Grains.GetGrain<IProbeGrain>("same");
        IProbeGrain same = host.Grains.GetGrain<IProbeGrain>("same");
        Assert.Equal(one, same);
        Assert.Equal(one.GetHashCode(), same.GetHashCode());
        Assert.NotEqual(one, host.Grains.GetGrain<IProbeGrain>("other"));
        Assert.Equal(one, await one.Reference());
        Assert.Equal("same", one.GetPrimaryKeyString());
        Assert.Equal(-5, host.Grains.GetGrain<ILightGrain>(-5).GetPrimaryKeyLong());
        Guid guid = Guid.NewGuid();
        Assert.Equal(guid, host.Grains.GetGrain<ILongLivedGrain>(guid).GetPrimaryKey());
        Assert.Equal(GrainId.Create("probe", "same"), one.GetGrainId());
        Assert.Equal(one, host.Grains.GetGrain<IProbeGrain>(one.GetGrainId()));
        Assert.Throws<InvalidOperationException>(() => one.GetPrimaryKeyLong());
    }

    [Fact]
    public async Task InterfaceThatCannotBeCalled_IsRefusedWithTheReason()
    {
        await using Host host = await Host.StartAsync();
        NotSupportedException refused = Assert.Throws<NotSupportedException>(() => host.Grains.GetGrain<INotCallableGrain>("x"));
        Assert.Contains("Answer", refused.Message);
    }

    [Fact]
    public void StatelessWorker_ServesOneIdWithSeveralActivations()
    {
        SimulationScheduler simulation = new(1);
        Host host = Host.Simulate(simulation);
        simulation.Run(async () =>
        {
            IWorkerGrain grain = host.Grains.GetGrain<IWorkerGrain>(0);
            Task[] calls = [.. Enumerable.Range(0, 40).Select(_ => grain.WaitAt("door"))];
            await simulation.Delay(TimeSpan.FromSeconds(1));
            Assert.Equal(4, host.Journal.Lines.Length);
            Assert.Equal(4, host.Activations);
            host.Journal.Open("door");
            await Task.WhenAll(calls);
        });
    }

    [Fact]
    public void Options_OutOfRange_AreRefusedByName()
    {
        InvalidOperationException refused = Assert.Throws<InvalidOperationException>(
            () => new ServiceCollection().AddEmbeddedGrains(options => options.MaxActivations = 0));
        Assert.Contains("MaxActivations", refused.Message);
    }
}
