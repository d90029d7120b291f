using System.Diagnostics;
using System.Diagnostics.Metrics;
using Orleans;
using Orleans.Runtime;

namespace ObjectStore.EmbeddedRuntime.Tests;

public sealed class LifecycleTests
{
    [Fact]
    public async Task FailedActivation_FailsItsCalls_AndTheNextCallTriesAgain()
    {
        await using Host host = await Host.StartAsync();
        IFailingGrain grain = host.Grains.GetGrain<IFailingGrain>(Guid.NewGuid().ToString());
        Assert.Same(FailingGrain.Failure, await Assert.ThrowsAsync<InvalidDataException>(() => grain.Attempts()));
        Assert.Equal(0, host.Activations);
        Assert.Equal(2, await grain.Attempts());
        Assert.Equal(1, host.Activations);
    }

    [Fact]
    public async Task DeactivateOnIdle_NextCallGetsAnotherActivation()
    {
        await using Host host = await Host.StartAsync();
        IProbeGrain grain = host.Grains.GetGrain<IProbeGrain>("leaves");
        int first = await grain.ActivationNumber();
        await grain.Leave();
        Assert.NotEqual(first, await grain.ActivationNumber());
        Assert.Equal(
            ["activate leaves", "deactivating leaves ApplicationRequested", "deactivated leaves", "activate leaves"],
            host.Journal.Lines);
    }

    [Fact]
    public async Task CallsDuringDeactivation_GoToANewActivation_AfterTheOldHasEnded()
    {
        await using Host host = await Host.StartAsync();
        IProbeGrain grain = host.Grains.GetGrain<IProbeGrain>("gated");
        int first = await grain.ActivationNumber();
        await grain.Leave();
        await host.Journal.WhenWritten("deactivating gated ApplicationRequested");
        Task<int>[] calls = [grain.ActivationNumber(), grain.ActivationNumber(), host.Grains.GetGrain<IProbeGrain>("gated").ActivationNumber()];
        Assert.DoesNotContain(calls, call => call.IsCompleted);
        host.Journal.Open("deactivate");
        int[] numbers = await Task.WhenAll(calls);
        Assert.Single(numbers.Distinct());
        Assert.NotEqual(first, numbers[0]);
        Assert.Equal(["activate gated", "deactivating gated ApplicationRequested", "deactivated gated", "activate gated"], host.Journal.Lines);
    }

    [Fact]
    public async Task DeactivateOnIdle_WaitsForTheRunningRequest()
    {
        await using Host host = await Host.StartAsync();
        IProbeGrain grain = host.Grains.GetGrain<IProbeGrain>("busy");
        Task waiting = grain.WaitAt("door");
        Task leaving = grain.Leave();
        Task<int> after = grain.ActivationNumber();
        Assert.DoesNotContain("deactivating busy ApplicationRequested", host.Journal.Lines);
        host.Journal.Open("door");
        await Task.WhenAll(waiting, leaving, after);
        Assert.Equal(["activate busy", "at door", "past door", "deactivating busy ApplicationRequested", "deactivated busy", "activate busy"], host.Journal.Lines);
    }

    [Fact]
    public async Task ManyCallersOfAGrainThatLeavesEachTime_AreAllServed()
    {
        await using Host host = await Host.StartAsync();
        IProbeGrain grain = host.Grains.GetGrain<IProbeGrain>("restless");
        await Task.WhenAll(Enumerable.Range(0, 64).Select(_ => Task.Run(() => grain.Leave()))).WaitAsync(TimeSpan.FromSeconds(30), TestContext.Current.CancellationToken);
    }

    [Fact]
    public async Task GrainThatNeverStaysUp_RejectsInTheEnd()
    {
        await using Host host = await Host.StartAsync();
        await Assert.ThrowsAsync<OrleansMessageRejectionException>(() => host.Grains.GetGrain<INeverUpGrain>("x").Touch());
    }

    [Fact]
    public async Task IdleActivation_IsCollectedAfterItsAge_AndUsedOneStays()
    {
        await using Host host = await Host.StartVirtualAsync();
        IProbeGrain idle = host.Grains.GetGrain<IProbeGrain>("idle");
        ILightGrain light = host.Grains.GetGrain<ILightGrain>(1);
        ILightGrain used = host.Grains.GetGrain<ILightGrain>(2);
        await host.Grains.GetGrain<ILongLivedGrain>(Guid.NewGuid()).Touch();
        await idle.Touch();
        await light.Touch();
        for (int i = 0; i < 15; i++)
        {
            await used.Touch();
            host.Clock!.Advance(TimeSpan.FromSeconds(10));
            if (i < 11)
                Assert.Equal(4, host.Activations);
        }

        await host.Journal.WhenWritten("deactivated idle");
        Assert.Contains("deactivating idle ActivationIdle", host.Journal.Lines);
        Assert.Equal(2, host.Activations);
        Assert.Equal(1, await light.Touch());
        Assert.Equal(16, await used.Touch());
    }

    [Fact]
    public async Task DelayDeactivation_KeepsAnIdleActivation()
    {
        await using Host host = await Host.StartVirtualAsync();
        await host.Grains.GetGrain<IProbeGrain>("stays").StayFor(TimeSpan.FromMinutes(10));
        host.Clock!.Advance(TimeSpan.FromMinutes(9));
        Assert.Equal(1, host.Activations);
        host.Clock.Advance(TimeSpan.FromMinutes(2));
        Assert.Equal(0, host.Activations);
    }

    [Fact]
    public async Task Bound_EvictsIdleOnes_AndSparesTheOnesInUse()
    {
        await using Host host = await Host.StartAsync(options => options.MaxActivations = 1000);
        IProbeGrain busy = host.Grains.GetGrain<IProbeGrain>("busy");
        ILightGrain hot = host.Grains.GetGrain<ILightGrain>(-1);
        Task waiting = busy.WaitAt("door");
        long touches = 0;
        for (int i = 0; i < 20_000; i++)
        {
            await host.Grains.GetGrain<ILightGrain>(i).Touch();
            if (i % 50 == 0)
                Assert.Equal(++touches, await hot.Touch());
            Assert.InRange(host.Activations, 0, 1001);
        }

        Assert.False(waiting.IsCompleted);
        host.Journal.Open("door");
        await waiting;
    }

    [Fact]
    public async Task Bound_HoldsForGrainsWithDeactivationCode_UnderConcurrentCallers()
    {
        await using Host host = await Host.StartAsync(options => options.MaxActivations = 200);
        int highest = 0;
        await Task.WhenAll(Enumerable.Range(0, 4).Select(caller => Task.Run(async () =>
        {
            for (int i = 0; i < 3000; i++)
            {
                await host.Grains.GetGrain<IProbeGrain>($"{caller}/{i}").Touch();
                int count = host.Activations;
                if (count > Volatile.Read(ref highest))
                    Volatile.Write(ref highest, count);
            }
        })));
        Assert.InRange(highest, 100, 300);
        Assert.Equal(host.Journal.Lines.Count(line => line.StartsWith("activate", StringComparison.Ordinal)) - host.Activations,
            host.Journal.Lines.Count(line => line.StartsWith("deactivated", StringComparison.Ordinal)));
    }

    [Fact]
    public async Task OneMillionGrains_CalledOnceEach_StayWithinBoundedMemory()
    {
        const int Bound = 100_000;
        await using Host host = await Host.StartAsync(options => options.MaxActivations = Bound);
        await host.Grains.GetGrain<ILightGrain>(-1).Touch();
        long before = GC.GetTotalMemory(forceFullCollection: true);
        long began = Stopwatch.GetTimestamp();
        for (int i = 0; i < 1_000_000; i++)
        {
            ValueTask<long> touched = host.Grains.GetGrain<ILightGrain>(i).Touch();
            Assert.True(touched.IsCompletedSuccessfully);
        }

        TimeSpan took = Stopwatch.GetElapsedTime(began);
        long bytesPerActivation = (GC.GetTotalMemory(forceFullCollection: true) - before) / host.Activations;
        TestContext.Current.SendDiagnosticMessage($"1,000,000 activations in {took.TotalSeconds:F2} s, {bytesPerActivation} bytes per live activation");
        Assert.InRange(host.Activations, Bound / 2, Bound + 1);
        Assert.InRange(bytesPerActivation, 1, 2048);
    }

    [Fact]
    public async Task Stop_DeactivatesEveryGrain_AndRefusesNewOnes()
    {
        Host host = await Host.StartAsync();
        for (int i = 0; i < 100; i++)
            await host.Grains.GetGrain<IProbeGrain>($"g{i}").Touch();
        await host.Services.StopEmbeddedGrainsAsync(TestContext.Current.CancellationToken);
        Assert.Equal(0, host.Activations);
        Assert.Equal(100, host.Journal.Lines.Count(line => line.EndsWith("ShuttingDown", StringComparison.Ordinal)));
        await Assert.ThrowsAsync<OrleansMessageRejectionException>(() => host.Grains.GetGrain<IProbeGrain>("late").Count());
        await host.DisposeAsync();
    }

    [Fact]
    public async Task Stop_AbandonsAGrainThatDoesNotEnd_AtTheDeadline()
    {
        Host host = await Host.StartVirtualAsync(options => options.ShutdownTimeout = TimeSpan.FromSeconds(10));
        Task stuck = host.Grains.GetGrain<IProbeGrain>("stuck").WaitAt("never");
        Task stopping = host.Services.StopEmbeddedGrainsAsync(TestContext.Current.CancellationToken);
        Assert.False(stopping.IsCompleted);
        host.Clock!.Advance(TimeSpan.FromSeconds(10));
        await stopping;
        Assert.False(stuck.IsCompleted);
        await host.Services.DisposeAsync();
    }

    [Fact]
    public async Task Meter_ReportsActivationsAndCalls()
    {
        await using Host host = await Host.StartAsync();
        for (int i = 0; i < 3; i++)
            await host.Grains.GetGrain<ILightGrain>(i).Touch();
        HashSet<string> seen = [];
        using MeterListener listener = new();
        listener.InstrumentPublished = (instrument, current) =>
        {
            if (instrument.Meter.Name == "ObjectStore.Grains.Runtime")
                current.EnableMeasurementEvents(instrument);
        };
        listener.SetMeasurementEventCallback<int>((instrument, value, _, _) => seen.Add($"{instrument.Name}={value}"));
        listener.SetMeasurementEventCallback<long>((instrument, value, _, _) => seen.Add($"{instrument.Name}={value}"));
        listener.Start();
        listener.RecordObservableInstruments();
        // Other tests' runtimes have meters of the same name: this one's values are among what was reported.
        Assert.Contains("grains.activations=3", seen);
        Assert.Contains("grains.calls=3", seen);
    }
}
