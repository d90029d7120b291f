using ObjectStore.EmbeddedRuntime.Simulation;
using Orleans.Runtime;

namespace ObjectStore.EmbeddedRuntime.Tests;

public sealed class TimerTests
{
    private static readonly TimeSpan Second = TimeSpan.FromSeconds(1);

    [Fact]
    public async Task Timer_RunsAtItsDueTimeAndThenEachPeriod()
    {
        await using Host host = await Host.StartVirtualAsync();
        ITimerGrain grain = host.Grains.GetGrain<ITimerGrain>("t");
        await grain.Begin("tick", 5 * Second, 2 * Second, false, null, false);
        host.Clock!.Advance(4.9 * Second);
        Assert.Empty(host.Journal.Lines);
        await AdvanceUntil(host, 0.1 * Second, "tick 1");
        await grain.WaitAtOpen(host);
        await AdvanceUntil(host, 2 * Second, "tick 2");
        await grain.WaitAtOpen(host);
        await AdvanceUntil(host, 2 * Second, "tick 3");
        await grain.End("tick");
        host.Clock.Advance(100 * Second);
        await grain.WaitAtOpen(host);
        Assert.DoesNotContain("tick 4", host.Journal.Lines);
    }

    [Fact]
    public async Task Timer_DoesNotInterleaveWithARequest_UnlessAskedTo()
    {
        await using Host host = await Host.StartVirtualAsync();
        ITimerGrain grain = host.Grains.GetGrain<ITimerGrain>("t");
        await grain.Begin("polite", Second, Timeout.InfiniteTimeSpan, false, null, false);
        await grain.Begin("eager", Second, Timeout.InfiniteTimeSpan, true, null, false);
        Task waiting = grain.WaitAt("door");
        await AdvanceUntil(host, Second, "eager 1");
        Assert.DoesNotContain("polite 1", host.Journal.Lines);
        host.Journal.Open("door");
        await waiting;
        await host.Journal.WhenWritten("polite 1");
    }

    [Fact]
    public async Task Timer_ThatFails_RunsAgain()
    {
        await using Host host = await Host.StartVirtualAsync();
        await host.Grains.GetGrain<ITimerGrain>("t").Begin("tick", Second, Second, false, "1", false);
        await AdvanceUntil(host, Second, "tick 1");
        await host.Grains.GetGrain<ITimerGrain>("t").WaitAtOpen(host);
        await AdvanceUntil(host, Second, "tick 2");
    }

    [Fact]
    public async Task Change_SetsDueTimeAndPeriod()
    {
        await using Host host = await Host.StartVirtualAsync();
        ITimerGrain grain = host.Grains.GetGrain<ITimerGrain>("t");
        await grain.Begin("tick", Timeout.InfiniteTimeSpan, Second, false, null, false);
        host.Clock!.Advance(100 * Second);
        await grain.Change("tick", 3 * Second, 10 * Second);
        await AdvanceUntil(host, 3 * Second, "tick 1");
        await grain.WaitAtOpen(host);
        host.Clock.Advance(9 * Second);
        await grain.WaitAtOpen(host);
        Assert.DoesNotContain("tick 2", host.Journal.Lines);
        await AdvanceUntil(host, Second, "tick 2");
    }

    [Fact]
    public void Timer_DoesNotKeepAnActivationAlive_UnlessAskedTo()
    {
        SimulationScheduler simulation = new(1);
        Host host = Host.Simulate(simulation);
        simulation.Run(async () =>
        {
            await host.Services.StartEmbeddedGrainsAsync();
            await host.Grains.GetGrain<ITimerGrain>("dies").Begin("a", 5 * Second, 5 * Second, false, null, keepAlive: false);
            await host.Grains.GetGrain<ITimerGrain>("lives").Begin("b", 5 * Second, 5 * Second, false, null, keepAlive: true);
            await simulation.Delay(301 * Second);
        });
        // Two minutes of age, and at most two quanta of ten seconds.
        Assert.InRange(host.Journal.Lines.Count(line => line[0] == 'a'), 24, 28);
        Assert.Equal(60, host.Journal.Lines.Count(line => line[0] == 'b'));
    }

    [Fact]
    public async Task Timers_AreBoundedPerActivation()
    {
        await using Host host = await Host.StartVirtualAsync(options => options.MaxTimersPerActivation = 10);
        await Assert.ThrowsAsync<LimitExceededException>(() => host.Grains.GetGrain<ITimerGrain>("many").BeginMany(11));
    }

    private static async Task AdvanceUntil(Host host, TimeSpan time, string line)
    {
        host.Clock!.Advance(time);
        await host.Journal.WhenWritten(line);
    }
}

internal static class TimerGrainExtensions
{
    /// <summary>Passes through the grain's queue: ticks that were queued before have run.</summary>
    public static Task WaitAtOpen(this ITimerGrain grain, Host host)
    {
        host.Journal.Open("open");
        return grain.WaitAt("open");
    }
}
