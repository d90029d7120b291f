using Microsoft.Extensions.DependencyInjection;
using ObjectStore.EmbeddedRuntime.Reminders;
using ObjectStore.EmbeddedRuntime.Simulation;
using ObjectStore.EmbeddedRuntime.State;
using Orleans.Runtime;

namespace ObjectStore.EmbeddedRuntime.Tests;

public sealed class ReminderTests
{
    private static readonly TimeSpan Minute = TimeSpan.FromMinutes(1);

    [Fact]
    public void Reminder_TicksAtItsDueTimeAndEachPeriod_UntilUnregistered()
    {
        SimulationScheduler simulation = new(1);
        Host host = Host.Simulate(simulation);
        simulation.Run(async () =>
        {
            await host.Services.StartEmbeddedGrainsAsync();
            IReminderGrain grain = host.Grains.GetGrain<IReminderGrain>("g");
            await grain.Register("r", 5 * Minute, 2 * Minute);
            await simulation.Delay(8 * Minute);
            Assert.Equal(["g r 00:05:00", "g r 00:07:00"], host.Journal.Lines);
            Assert.True(await grain.Unregister("r"));
            Assert.False(await grain.Unregister("r"));
            await simulation.Delay(100 * Minute);
            Assert.Equal(2, host.Journal.Lines.Length);
        });
    }

    [Fact]
    public async Task Reminder_SurvivesRestart_AndWakesAGrainThatNobodyCalled()
    {
        using TestFolder folder = new();
        string path = folder.Database;
        await using (Host host = await Host.StartVirtualAsync(options => options.DatabasePath = path))
        {
            await host.Grains.GetGrain<IReminderGrain>("g/with\0odd key").Register("r", 5 * Minute, 2 * Minute);
            await host.Grains.GetGrain<IReminderGrain>("h").Register("removed", 5 * Minute, 2 * Minute);
            Assert.True(await host.Grains.GetGrain<IReminderGrain>("h").Unregister("removed"));
        }

        // A new process at 00:06: the tick of 00:05 is not made up, that of 00:07 comes.
        await using (Host host = await Host.StartVirtualAsync(
            options => options.DatabasePath = path,
            services => services.AddSingleton<TimeProvider>(new VirtualTimeProvider(VirtualTimeProvider.Epoch + 6 * Minute))))
        {
            VirtualTimeProvider clock = (VirtualTimeProvider)host.Services.GetRequiredService<TimeProvider>();
            Assert.Equal(0, host.Activations);
            clock.Advance(Minute);
            await host.Journal.WhenWritten("g/with\0odd key r 00:07:00");
            Assert.Single(host.Journal.Lines);
            Assert.Equal(["r"], await host.Grains.GetGrain<IReminderGrain>("g/with\0odd key").Names());
            Assert.Empty(await host.Grains.GetGrain<IReminderGrain>("h").Names());
        }
    }

    [Fact]
    public async Task Register_AgainReplaces()
    {
        await using Host host = await Host.StartVirtualAsync();
        IReminderGrain grain = host.Grains.GetGrain<IReminderGrain>("g");
        await grain.Register("r", 5 * Minute, 5 * Minute);
        await grain.Register("r", 7 * Minute, 7 * Minute);
        host.Clock!.Advance(6 * Minute);
        await AdvanceUntil(host, Minute, "g r 00:07:00");
        Assert.Single(host.Journal.Lines);
        Assert.Equal(["r"], await grain.Names());
        await Assert.ThrowsAsync<ReminderException>(() => grain.UnregisterStale("r"));
    }

    [Fact]
    public async Task Register_RefusesPeriodsUnderAMinute_NegativeDueTimes_AndGrainsThatCannotReceive()
    {
        await using Host host = await Host.StartVirtualAsync();
        IReminderGrain grain = host.Grains.GetGrain<IReminderGrain>("g");
        await Assert.ThrowsAnyAsync<ArgumentException>(() => grain.Register("r", Minute, TimeSpan.FromSeconds(59)));
        await Assert.ThrowsAnyAsync<ArgumentException>(() => grain.Register("r", -Minute, Minute));
        await Assert.ThrowsAsync<InvalidOperationException>(() => host.Grains.GetGrain<INotRemindableGrain>("g").Register());
    }

    private static async Task AdvanceUntil(Host host, TimeSpan time, string line)
    {
        host.Clock!.Advance(time);
        await host.Journal.WhenWritten(line);
    }
}

/// <summary>What every reminder store must do.</summary>
public abstract class ReminderStoreTests
{
    protected abstract IReminderStore Open();

    [Fact]
    public async Task Upsert_Replaces_AndRemoveNeedsTheCurrentETag()
    {
        IReminderStore store = Open();
        CancellationToken token = TestContext.Current.CancellationToken;
        DateTime start = VirtualTime.Start;
        ReminderRecord first = await store.UpsertAsync(new("t", "k", "n", start, TimeSpan.FromMinutes(1), ""), token);
        ReminderRecord second = await store.UpsertAsync(first with { Period = TimeSpan.FromMinutes(2) }, token);
        await store.UpsertAsync(new("t", "k", "m", start, TimeSpan.FromMinutes(1), ""), token);
        Assert.NotEqual(first.ETag, second.ETag);
        Assert.Equal(2, (await store.ReadAllAsync(token)).Count);
        Assert.Contains(second, await store.ReadAllAsync(token));
        Assert.False(await store.RemoveAsync(first, token));
        Assert.True(await store.RemoveAsync(second, token));
        Assert.False(await store.RemoveAsync(second, token));
        Assert.Single(await store.ReadAllAsync(token));
        (store as IDisposable)?.Dispose();
    }
}

public sealed class InMemoryReminderStoreTests : ReminderStoreTests
{
    protected override IReminderStore Open() => new InMemoryReminderStore();
}

public sealed class SqliteReminderStoreTests : ReminderStoreTests, IDisposable
{
    private readonly TestFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    protected override IReminderStore Open() => SqliteGrainStore.Open(_folder.Database);
}
