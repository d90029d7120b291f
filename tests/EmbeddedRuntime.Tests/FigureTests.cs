using System.Diagnostics;

namespace ObjectStore.EmbeddedRuntime.Tests;

/// <summary>Speed, printed; the asserted floors are a tenth of what an idle two-core machine does, so that a busy one passes.</summary>
public sealed class FigureTests(ITestOutputHelper output)
{
    [Fact]
    public async Task WarmCalls_FromOneThread()
    {
        await using Host host = await Host.StartAsync();
        ILightGrain value = host.Grains.GetGrain<ILightGrain>(1);
        IProbeGrain task = host.Grains.GetGrain<IProbeGrain>("t");
        double valueRate = await Rate(1_000_000, async count =>
        {
            for (int i = 0; i < count; i++)
                await value.Touch();
        });
        double taskRate = await Rate(1_000_000, async count =>
        {
            for (int i = 0; i < count; i++)
                await task.Count();
        });
        double lookupRate = await Rate(1_000_000, async count =>
        {
            for (int i = 0; i < count; i++)
                await host.Grains.GetGrain<ILightGrain>(1).Touch();
        });
        output.WriteLine($"ValueTask {valueRate:N0}/s, Task<long> {taskRate:N0}/s, with GetGrain each time {lookupRate:N0}/s");
        Assert.True(Math.Min(valueRate, taskRate) > 150_000);
    }

    [Fact]
    public async Task ContendedCalls_From64Callers()
    {
        await using Host host = await Host.StartAsync();
        IProbeGrain one = host.Grains.GetGrain<IProbeGrain>("one");
        double oneRate = await Rate(640_000, count => Task.WhenAll(Enumerable.Range(0, 64).Select(_ => Task.Run(async () =>
        {
            for (int i = 0; i < count / 64; i++)
                await one.Count();
        }))));
        double yieldRate = await Rate(64_000, count => Task.WhenAll(Enumerable.Range(0, 64).Select(_ => Task.Run(async () =>
        {
            for (int i = 0; i < count / 64; i++)
                await one.OverlapsAsync(1);
        }))));
        output.WriteLine($"64 callers of one grain: {oneRate:N0}/s; with an await inside: {yieldRate:N0}/s");
        Assert.True(oneRate > 20_000);
    }

    [Fact]
    public async Task NewActivations_FromOneThread()
    {
        await using Host host = await Host.StartAsync();
        long next = 0;
        double rate = await Rate(90_000, async count =>
        {
            for (int i = 0; i < count; i++)
                await host.Grains.GetGrain<ILightGrain>(next++).Touch();
        }, rounds: 1);
        output.WriteLine($"{rate:N0} activations/s, {1e6 / rate:F2} µs each");
        Assert.True(rate > 20_000);
    }

    private static async Task<double> Rate(int count, Func<int, Task> run, int rounds = 3)
    {
        await run(Math.Min(count, 10_000) / 64 * 64);
        double best = 0;
        for (int round = 0; round < rounds; round++)
        {
            long began = Stopwatch.GetTimestamp();
            await run(count);
            best = Math.Max(best, count / Stopwatch.GetElapsedTime(began).TotalSeconds);
        }

        return best;
    }
}
