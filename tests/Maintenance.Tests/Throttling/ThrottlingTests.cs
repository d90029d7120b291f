using ObjectStore.EmbeddedRuntime.Simulation;
using ObjectStore.Maintenance.Tests.Fixtures;
using ObjectStore.Maintenance.Throttling;
using ObjectStore.Storage.Repair;

namespace ObjectStore.Maintenance.Tests.Throttling;

public sealed class ThrottlingTests
{
    [Theory]
    [InlineData(0.003)]
    [InlineData(0.7)]
    [InlineData(12)]
    [InlineData(950)]
    public void P99_IsWithinAQuarterOfTheTrueOne(double milliseconds)
    {
        var load = new ForegroundLoad(new VirtualTimeProvider());
        for (int i = 0; i < 970; i++)
            load.Record(TimeSpan.FromMilliseconds(milliseconds / 3));
        for (int i = 0; i < 30; i++)
            load.Record(TimeSpan.FromMilliseconds(milliseconds));
        Assert.InRange(load.GetP99()!.Value.TotalMilliseconds, milliseconds, milliseconds * 1.25 + 0.001);
    }

    [Fact]
    public void P99_OfFewRequests_SaysNothing()
    {
        var load = new ForegroundLoad(new VirtualTimeProvider());
        for (int i = 0; i < ForegroundLoad.LeastRequests - 1; i++)
            load.Record(TimeSpan.FromMilliseconds(1));
        Assert.Null(load.GetP99());
        load.Record(TimeSpan.FromDays(1));
        Assert.NotNull(load.GetP99());
    }

    [Fact]
    public void P99_ForgetsWhatIsPast()
    {
        var time = new VirtualTimeProvider();
        var load = new ForegroundLoad(time);
        Fill(load, 100);
        time.Advance(TimeSpan.FromSeconds(ForegroundLoad.WindowSeconds + 1));
        Assert.Null(load.GetP99());
        for (int second = 0; second < 20; second++)
        {
            Fill(load, second < 10 ? 100 : 1);
            time.Advance(TimeSpan.FromSeconds(1));
        }

        Assert.InRange(load.GetP99()!.Value.TotalMilliseconds, 1, 1.25);
    }

    [Fact]
    public void P99_OfManyRequests_IsOfTheNewestQuarterOfASecond()
    {
        var time = new VirtualTimeProvider();
        var load = new ForegroundLoad(time);
        for (int i = 0; i < 100; i++)
            Fill(load, 1);
        time.Advance(TimeSpan.FromMilliseconds(250));
        for (int i = 0; i < ForegroundLoad.EnoughRequests / 100; i++)
            Fill(load, 100);
        time.Advance(TimeSpan.FromMilliseconds(250));
        for (int i = 0; i < ForegroundLoad.EnoughRequests / 100; i++)
            Fill(load, 1);
        Assert.InRange(load.GetP99()!.Value.TotalMilliseconds, 1, 1.25);
    }

    [Fact]
    public void Governor_HalvesWhileClientsSufferAndRecoversSlowly()
    {
        var latency = new TestLatency { P99 = TimeSpan.FromMilliseconds(5) };
        using var governor = new LoadGovernor(new VirtualTimeProvider(), new LoadGovernorOptions(), latency);
        Observe(governor, seconds: 2);
        Assert.Equal(5, governor.Baseline!.Value.TotalMilliseconds, 0.1);
        Assert.Equal(16, governor.Workers(16));

        using IDisposable busy = governor.BusyByShare();
        latency.P99 = TimeSpan.FromMilliseconds(8);
        governor.Observe();
        Assert.Equal(8, governor.Workers(16));
        Assert.True(governor.IsHeldBack);

        // What was halved has not shown yet.
        governor.Observe();
        Assert.Equal(8, governor.Workers(16));
        governor.Observe();
        Assert.Equal(4, governor.Workers(16));
        Observe(governor, seconds: 5);
        Assert.Equal(1, governor.Workers(16));
        Assert.Equal(LoadGovernor.LeastShare, governor.Share);
        Assert.Equal(5, governor.Baseline!.Value.TotalMilliseconds, 0.1);

        latency.P99 = TimeSpan.FromMilliseconds(7);
        governor.Observe();
        Assert.InRange(governor.Workers(16), 1, 2);
        Observe(governor, seconds: 20);
        Assert.InRange(governor.Workers(16), 3, 5);
        Observe(governor, seconds: 18);
        Assert.False(governor.IsHeldBack);

        // Without clients there is nobody to give way to.
        latency.P99 = TimeSpan.FromMilliseconds(50);
        Observe(governor, seconds: 5);
        Assert.True(governor.IsHeldBack);
        latency.P99 = null;
        Observe(governor, seconds: 3);
        Assert.False(governor.IsHeldBack);
    }

    [Fact]
    public void Governor_GivesWayToWritesToo_ByABaselineOfTheirOwn()
    {
        TestLatency reads = new() { P99 = TimeSpan.FromMilliseconds(1) }, writes = new() { P99 = TimeSpan.FromMilliseconds(20) };
        using var governor = new LoadGovernor(new VirtualTimeProvider(), new LoadGovernorOptions(), reads, writes);
        Observe(governor, seconds: 2);
        Assert.Equal((1, 20), (governor.Baseline!.Value.TotalMilliseconds, governor.WriteBaseline!.Value.TotalMilliseconds));
        using IDisposable busy = governor.BusyByShare();

        // Of themselves writes vary by more than reads.
        writes.P99 = TimeSpan.FromMilliseconds(39);
        Observe(governor, seconds: 2);
        Assert.False(governor.IsHeldBack);
        writes.P99 = TimeSpan.FromMilliseconds(41);
        governor.Observe();
        Assert.Equal(8, governor.Workers(16));

        // Either of both will do, and where there are no reads the writes alone.
        (reads.P99, writes.P99) = (TimeSpan.FromMilliseconds(2), TimeSpan.FromMilliseconds(20));
        Observe(governor, seconds: 1);
        Assert.InRange(governor.Workers(16), 1, 4);
        Observe(governor, seconds: 5);
        Assert.Equal(LoadGovernor.LeastShare, governor.Share);
        reads.P99 = null;
        Observe(governor, seconds: 40);
        Assert.False(governor.IsHeldBack);
        writes.P99 = TimeSpan.FromMilliseconds(60);
        governor.Observe();
        Assert.True(governor.IsHeldBack);
        writes.P99 = null;
        Observe(governor, seconds: 3);
        Assert.False(governor.IsHeldBack);
    }

    [Fact]
    public void Governor_ThatSeesClientsOnlyWhileWorkRuns_HasItDoLittle_UntilItKnowsBetter()
    {
        var writes = new TestLatency { P99 = null };
        using var governor = new LoadGovernor(new VirtualTimeProvider(), new LoadGovernorOptions(), null, writes);
        using IDisposable busy = governor.BusyByShare();
        Observe(governor, seconds: 5);
        Assert.Equal(1, governor.Share);
        writes.P99 = TimeSpan.FromMilliseconds(200);
        governor.Observe();
        Assert.InRange(governor.Share, 0, 0.01);
        writes.P99 = TimeSpan.FromMilliseconds(20);
        Observe(governor, seconds: 10);
        Assert.InRange(governor.WriteBaseline!.Value.TotalMilliseconds, 20, 22);
    }

    [Fact]
    public void Governor_WhatBeginsWhileThereAreClients_BeginsWithLittle()
    {
        var latency = new TestLatency { P99 = TimeSpan.FromMilliseconds(5) };
        using var governor = new LoadGovernor(new VirtualTimeProvider(), new LoadGovernorOptions(), latency);
        Observe(governor, seconds: 10);
        using (governor.BusyByShare())
        {
            Assert.Equal(1, governor.Workers(32));

            // That is caution. Nobody suffers.
            Assert.False(governor.IsHeldBack);
        }

        using (governor.BusyByShare())
            Observe(governor, seconds: 30);
        Assert.Equal(1, governor.Share);

        // It was busy just now: this is the same work.
        using (governor.BusyByShare())
            Assert.Equal(32, governor.Workers(32));

        latency.P99 = null;
        Observe(governor, seconds: 10);
        using (governor.BusyByShare())
            Assert.Equal(32, governor.Workers(32));
    }

    [Fact]
    public void Governor_WorkThatDoesNotGoByTheShare_LeavesItAlone_AndIsSeenWhenClientsSuffer()
    {
        var latency = new TestLatency { P99 = TimeSpan.FromMilliseconds(5) };
        using var governor = new LoadGovernor(new VirtualTimeProvider(), new LoadGovernorOptions(), latency);
        Observe(governor, seconds: 10);
        using IDisposable other = governor.Busy();
        Assert.Equal(1, governor.Share);
        Observe(governor, seconds: 1);

        // What goes by it begins with little all the same.
        using (governor.BusyByShare())
            Assert.Equal(1, governor.Workers(32));
        Observe(governor, seconds: 30);
        Assert.Equal(1, governor.Share);
        latency.P99 = TimeSpan.FromMilliseconds(8);
        governor.Observe();
        Assert.True(governor.IsHeldBack);
        Assert.Equal(0.5, governor.Share);
        other.Dispose();
        other.Dispose();
        Observe(governor, seconds: 8);
        Assert.False(governor.IsHeldBack);
    }

    [Fact]
    public void Governor_WhatSuffersWhileItBeginsWithLittle_IsHalvedFromThere()
    {
        var latency = new TestLatency { P99 = TimeSpan.FromMilliseconds(5) };
        using var governor = new LoadGovernor(new VirtualTimeProvider(), new LoadGovernorOptions(), latency);
        Observe(governor, seconds: 10);
        using IDisposable busy = governor.BusyByShare();
        latency.P99 = TimeSpan.FromMilliseconds(8);
        governor.Observe();
        Assert.Equal(1.0 / 256, governor.Share);
        Assert.True(governor.IsHeldBack);
    }

    [Fact]
    public void Governor_WhereTheLeastDoesNotHelp_TakesWhatClientsHaveForUsual()
    {
        var latency = new TestLatency { P99 = TimeSpan.FromMilliseconds(5) };
        using var governor = new LoadGovernor(new VirtualTimeProvider(), new LoadGovernorOptions(), latency);
        governor.Observe();
        using IDisposable busy = governor.BusyByShare();
        latency.P99 = TimeSpan.FromMilliseconds(40);
        Observe(governor, seconds: 5);
        Assert.Equal(LoadGovernor.LeastShare, governor.Share);
        Observe(governor, seconds: 300);
        Assert.InRange(governor.Baseline!.Value.TotalMilliseconds, 26, 40);
        Assert.False(governor.IsHeldBack);
    }

    [Fact]
    public void Rest_OfLessThanOneWorker_IsInProportion()
    {
        var latency = new TestLatency { P99 = TimeSpan.FromMilliseconds(5) };
        using var governor = new LoadGovernor(new VirtualTimeProvider(), new LoadGovernorOptions(), latency);
        governor.Observe();
        Assert.Equal(TimeSpan.Zero, governor.RestAfter(TimeSpan.FromMilliseconds(4), 32));
        using IDisposable busy = governor.BusyByShare();
        latency.P99 = TimeSpan.FromMilliseconds(40);
        Observe(governor, seconds: 5);

        // A sixteenth of a worker.
        Assert.Equal(60, governor.RestAfter(TimeSpan.FromMilliseconds(4), 32).TotalMilliseconds, 0.01);
        Assert.Equal(TimeSpan.FromSeconds(1), governor.RestAfter(TimeSpan.FromSeconds(4), 32));
        Assert.Equal(60, governor.RestAfter(TimeSpan.FromMilliseconds(4), 1).TotalMilliseconds, 0.01);
    }

    [Fact]
    public void Governor_WhileNothingRuns_LearnsWhatIsUsual()
    {
        var latency = new TestLatency { P99 = TimeSpan.FromMilliseconds(5) };
        using var governor = new LoadGovernor(new VirtualTimeProvider(), new LoadGovernorOptions(), latency);
        governor.Observe();
        latency.P99 = TimeSpan.FromMilliseconds(40);
        Observe(governor, seconds: 15);
        Assert.False(governor.IsHeldBack);
        Assert.InRange(governor.Baseline!.Value.TotalMilliseconds, 38, 40);
    }

    [Fact]
    public async Task Governor_LooksAtEachInterval()
    {
        var time = new VirtualTimeProvider();
        var latency = new TestLatency { P99 = TimeSpan.FromMilliseconds(5) };
        using var governor = new LoadGovernor(time, new LoadGovernorOptions(), latency);
        await governor.StartAsync(CancellationToken.None);
        using CancellationTokenSource limit = new(TimeSpan.FromSeconds(30));
        while (governor.Baseline is null)
        {
            limit.Token.ThrowIfCancellationRequested();
            await Task.Yield();
            time.Advance(TimeSpan.FromSeconds(1));
        }

        await governor.StopAsync(CancellationToken.None);
    }

    [Fact]
    public async Task Gate_LetsInSoManyInAllAndSoManyADrive()
    {
        Guid a = new(1, 0, 0, new byte[8]), b = new(2, 0, 0, new byte[8]);
        int limit = 3;
        var gate = new WorkGate(() => limit, driveLimit: 2);
        await gate.EnterAsync([a], isUrgent: false, CancellationToken.None);
        await gate.EnterAsync([a], isUrgent: false, CancellationToken.None);
        Task third = gate.EnterAsync([a, b], isUrgent: false, CancellationToken.None).AsTask();
        Assert.False(third.IsCompleted);

        // The other drive's work does not wait behind it.
        await gate.EnterAsync([b], isUrgent: false, CancellationToken.None);
        Task fourth = gate.EnterAsync([b], isUrgent: false, CancellationToken.None).AsTask();
        Assert.False(fourth.IsCompleted);
        gate.Leave([a]);
        await third.WaitAsync(TimeSpan.FromSeconds(30));
        Assert.False(fourth.IsCompleted);
        limit = 1;
        gate.Leave([a, b]);
        gate.Leave([a]);
        Assert.False(fourth.IsCompleted);
        gate.Leave([b]);
        await fourth.WaitAsync(TimeSpan.FromSeconds(30));
        Assert.Equal(1, gate.Inside);

        using CancellationTokenSource stop = new();
        Task waiting = gate.EnterAsync([a, b], isUrgent: false, stop.Token).AsTask();
        await stop.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => waiting);
        gate.Leave([b]);
        Assert.Equal(0, gate.Inside);

        // Of what waited and went nothing is left.
        Assert.Equal(0, gate.Drives);
        limit = 2;
        await gate.EnterAsync([a, b], isUrgent: false, CancellationToken.None);
        await gate.EnterAsync([a], isUrgent: false, CancellationToken.None);
        Assert.Equal((2, 2), (gate.Inside, gate.Drives));
    }

    [Fact]
    public async Task Gate_LetsUrgentWorkInBeforeAllThatWaits()
    {
        Guid a = new(1, 0, 0, new byte[8]), b = new(2, 0, 0, new byte[8]);
        var gate = new WorkGate(() => 1, driveLimit: 2);
        await gate.EnterAsync([a], isUrgent: false, CancellationToken.None);
        List<string> entered = [];
        Task[] all = [EnterAsync("first", a, false), EnterAsync("second", b, false), EnterAsync("urgent", a, true), EnterAsync("urgent too", b, true), EnterAsync("third", a, false)];
        gate.Leave([a]);
        await Task.WhenAll(all).WaitAsync(TimeSpan.FromSeconds(30));
        Assert.Equal(["urgent", "urgent too", "first", "second", "third"], entered);
        Assert.Equal(0, gate.Inside);

        async Task EnterAsync(string name, Guid drive, bool isUrgent)
        {
            await gate.EnterAsync([drive], isUrgent, CancellationToken.None);
            entered.Add(name);
            gate.Leave([drive]);
        }
    }

    [Fact]
    public async Task Gate_HasPlacesForUrgentWorkWhateverItsLimitIs()
    {
        Guid a = new(1, 0, 0, new byte[8]);
        var gate = new WorkGate(() => 1, driveLimit: 8, urgentLimit: 3);
        await gate.EnterAsync([a], isUrgent: false, CancellationToken.None);
        Task other = gate.EnterAsync([a], isUrgent: false, CancellationToken.None).AsTask();
        await gate.EnterAsync([a], isUrgent: true, CancellationToken.None);
        await gate.EnterAsync([a], isUrgent: true, CancellationToken.None);
        Task late = gate.EnterAsync([a], isUrgent: true, CancellationToken.None).AsTask();
        Assert.False(late.IsCompleted);
        gate.Leave([a]);
        await late.WaitAsync(TimeSpan.FromSeconds(30));
        gate.Leave([a]);
        gate.Leave([a]);
        Assert.False(other.IsCompleted);
        gate.Leave([a]);
        await other.WaitAsync(TimeSpan.FromSeconds(30));
        Assert.Equal(1, gate.Inside);
    }

    private static void Observe(LoadGovernor governor, int seconds)
    {
        for (TimeSpan passed = default; passed < TimeSpan.FromSeconds(seconds); passed += new LoadGovernorOptions().Interval)
            governor.Observe();
    }

    private static void Fill(ForegroundLoad load, double milliseconds)
    {
        for (int i = 0; i < 100; i++)
            load.Record(TimeSpan.FromMilliseconds(milliseconds));
    }
}
