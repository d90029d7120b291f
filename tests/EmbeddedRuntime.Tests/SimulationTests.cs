using Microsoft.Extensions.DependencyInjection;
using ObjectStore.EmbeddedRuntime.Simulation;
using Orleans;
using Orleans.Runtime;
using Orleans.Storage;

namespace ObjectStore.EmbeddedRuntime.Tests;

internal interface ITallyGrain : IGrainWithStringKey
{
    Task<int> Add(string who);

    Task<string> History();
}

/// <summary>Interleaves at awaits and writes down in what order.</summary>
[Orleans.Concurrency.Reentrant]
internal sealed class TallyGrain(TimeProvider time, Journal journal) : Grain, ITallyGrain
{
    private readonly List<string> _history = [];

    public override Task OnDeactivateAsync(DeactivationReason reason, CancellationToken cancellationToken)
    {
        journal.Write($"deactivated {reason.ReasonCode}");
        return Task.CompletedTask;
    }

    public async Task<int> Add(string who)
    {
        _history.Add($"{who}+");
        await Task.Yield();
        _history.Add($"{who}-");
        await Task.Delay(TimeSpan.FromMilliseconds(who.Length), time);
        journal.Write(who);
        return _history.Count;
    }

    public Task<string> History() => Task.FromResult(string.Join(' ', _history));
}

public sealed class SimulationTests
{
    private static readonly TimeSpan Minute = TimeSpan.FromMinutes(1);

    [Fact]
    public void SameSeed_GivesTheSameRun()
    {
        for (ulong seed = 1; seed <= 20; seed++)
        {
            (ulong firstHash, string first, string[] trace) = Tally(seed);
            (ulong secondHash, string second, string[] again) = Tally(seed);
            Assert.True(firstHash == secondHash && first == second, $"seed {seed} gave two runs");
            Assert.Equal(trace, again);
        }
    }

    [Fact]
    public void DifferentSeeds_GiveDifferentInterleavings()
    {
        HashSet<string> histories = [.. Enumerable.Range(1, 50).Select(seed => Tally((ulong)seed).History)];
        Assert.InRange(histories.Count, 30, 50);
    }

    [Fact]
    public void LostReply_ExecutesTheCall_AndTimesOutTheCaller()
    {
        SimulationScheduler simulation = new(7);
        Host host = Host.Simulate(simulation);
        simulation.Run(async () =>
        {
            ITallyGrain grain = host.Grains.GetGrain<ITallyGrain>("t");
            simulation.Faults.OnCall = call => call.Method == nameof(ITallyGrain.Add) ? SimulatedFault.LoseReply : SimulatedFault.None;
            DateTimeOffset before = simulation.Time.GetUtcNow();
            await Assert.ThrowsAsync<TimeoutException>(() => grain.Add("a"));
            Assert.InRange(simulation.Time.GetUtcNow() - before, TimeSpan.FromSeconds(30), TimeSpan.FromSeconds(32));
            Assert.Equal("a+ a-", await grain.History());
        });
    }

    [Fact]
    public void LostRequest_DoesNotExecuteTheCall()
    {
        SimulationScheduler simulation = new(7);
        Host host = Host.Simulate(simulation);
        simulation.Run(async () =>
        {
            ITallyGrain grain = host.Grains.GetGrain<ITallyGrain>("t");
            simulation.Faults.OnCall = call => call.Method == nameof(ITallyGrain.Add) ? SimulatedFault.LoseRequest : SimulatedFault.None;
            await Assert.ThrowsAsync<TimeoutException>(() => grain.Add("a"));
            Assert.Equal("", await grain.History());
        });
    }

    [Fact]
    public void DelayedMessages_ArriveLateAndOutOfOrder()
    {
        bool reordered = false;
        for (ulong seed = 1; seed <= 10; seed++)
        {
            SimulationScheduler simulation = new(seed, new SimulationFaults { Delay = 1, MaxDelay = TimeSpan.FromSeconds(10) });
            Host host = Host.Simulate(simulation);
            simulation.Run(async () =>
            {
                ITallyGrain grain = host.Grains.GetGrain<ITallyGrain>("t");
                await Task.WhenAll(grain.Add("1"), grain.Add("2"), grain.Add("3"));
            });
            Assert.True(simulation.Time.GetUtcNow() > VirtualTimeProvider.Epoch);
            reordered |= !host.Journal.Lines.SequenceEqual(["1", "2", "3"]);
        }

        Assert.True(reordered);
    }

    [Fact]
    public void Crash_DropsTheActivationWithoutDeactivating_AndItsRunningCallNeverAnswers()
    {
        SimulationScheduler simulation = new(3);
        Host host = Host.Simulate(simulation);
        simulation.Run(async () =>
        {
            ITallyGrain grain = host.Grains.GetGrain<ITallyGrain>("t");
            await grain.Add("before");
            Task<int> running = grain.Add(new string('x', 5000));
            await simulation.Delay(TimeSpan.FromSeconds(1));
            simulation.CrashActivation(grain);
            Assert.Equal("", await grain.History());
            await Assert.ThrowsAsync<TimeoutException>(() => running);
            Assert.Equal(["before"], host.Journal.Lines);
        });
    }

    [Fact]
    public void DuplicateActivation_LivesBesideTheFirstForItsTime()
    {
        SimulationScheduler simulation = new(11);
        Host host = Host.Simulate(simulation);
        simulation.Run(async () =>
        {
            ITallyGrain grain = host.Grains.GetGrain<ITallyGrain>("t");
            await grain.Add("a");
            simulation.DuplicateActivation(grain, Minute);
            HashSet<string> histories = [];
            for (int i = 0; i < 50; i++)
                histories.Add(await grain.History());
            Assert.Equal(["", "a+ a-"], histories.Order());
            Assert.Equal(2, host.Activations);

            await simulation.Delay(Minute + TimeSpan.FromSeconds(1));
            Assert.Equal(["a", "deactivated DuplicateActivation"], host.Journal.Lines);
            for (int i = 0; i < 50; i++)
                Assert.Equal("a+ a-", await grain.History());
        });
    }

    [Fact]
    public void StoredState_UnderEveryFault_LosesNoAcknowledgedUpdate()
    {
        // The ETag decides, not the activation: whatever happens to activations and messages, each acknowledged addition is in the balance, and
        // no addition is in it twice.
        HashSet<string> outcomes = [];
        for (ulong seed = 1; seed <= 200; seed++)
        {
            SimulationScheduler simulation = new(seed, new SimulationFaults
            {
                Delay = 0.2,
                LoseReply = 0.05,
                LoseRequest = 0.05,
                DuplicateActivation = 0.1,
                CrashBefore = 0.05,
                CrashAfter = 0.05,
            });
            Host host = Host.Simulate(simulation);
            long acknowledged = 0, attempted = 0, balance = 0;
            simulation.Run(async () =>
            {
                await host.Services.StartEmbeddedGrainsAsync();
                async Task Add()
                {
                    for (int i = 0; i < 10; i++)
                    {
                        attempted++;
                        try
                        {
                            await host.Grains.GetGrain<IAccountGrain>("shared").Add(1);
                            acknowledged++;
                        }
                        catch (Exception exception) when (exception is TimeoutException or InconsistentStateException)
                        {
                            outcomes.Add(exception.GetType().Name);
                        }
                    }
                }

                await Task.WhenAll(Add(), Add(), Add(), Add());
                simulation.Faults.Delay = simulation.Faults.LoseReply = simulation.Faults.LoseRequest = simulation.Faults.DuplicateActivation
                    = simulation.Faults.CrashBefore = simulation.Faults.CrashAfter = 0;
                IAccountGrain grain = host.Grains.GetGrain<IAccountGrain>("shared");
                simulation.CrashActivation(grain);
                balance = await grain.Balance();
            });
            Assert.True(balance >= acknowledged && balance <= attempted, $"seed {seed}: balance {balance}, acknowledged {acknowledged}, attempted {attempted}");
        }

        Assert.Equal([nameof(InconsistentStateException), nameof(TimeoutException)], outcomes.Order());
    }

    [Fact]
    public void WaitingForWhatCannotHappen_IsReportedWithTheSeed()
    {
        SimulationScheduler simulation = new(99);
        SimulationStalledException stalled = Assert.Throws<SimulationStalledException>(() => simulation.Run(() => new TaskCompletionSource().Task));
        Assert.Contains("99", stalled.Message);
    }

    [Fact]
    public void LeavingTheThread_IsRefused()
    {
        SimulationScheduler simulation = new(5);
        Host host = Host.Simulate(simulation);
        InvalidOperationException refused = Assert.Throws<InvalidOperationException>(() => simulation.Run(async () =>
        {
            Task waiting = host.Grains.GetGrain<IProbeGrain>("t").WaitAt("door");
            await simulation.Delay(TimeSpan.FromSeconds(1));
            Thread other = new(() => host.Journal.Open("door"));
            other.Start();
            other.Join();
            await waiting;
        }));
        Assert.Contains("Seed 5", refused.Message);
    }

    [Fact]
    public void ScenarioException_ComesOutOfRun()
    {
        InvalidDataException exception = new();
        Assert.Same(exception, Assert.Throws<InvalidDataException>(() => new SimulationScheduler(1).Run(() => Task.FromException(exception))));
    }

    [Fact]
    public void TimersAndReminders_RunInVirtualTime()
    {
        SimulationScheduler simulation = new(21);
        Host host = Host.Simulate(simulation);
        simulation.Run(async () =>
        {
            await host.Services.StartEmbeddedGrainsAsync();
            await host.Grains.GetGrain<IReminderGrain>("g").Register("r", Minute, Minute);
            await host.Grains.GetGrain<ITimerGrain>("t").Begin("tick", Minute, Minute, false, null, true);
            await simulation.Delay(3.5 * Minute);
            await host.Services.StopEmbeddedGrainsAsync();
        });
        Assert.Equal(
            ["g r 00:01:00", "g r 00:02:00", "g r 00:03:00", "tick 1", "tick 2", "tick 3"],
            host.Journal.Lines.Order(StringComparer.Ordinal));
    }

    private static (ulong Hash, string History, string[] Trace) Tally(ulong seed)
    {
        SimulationScheduler simulation = new(seed, new SimulationFaults { Delay = 0.1, LoseReply = 0.02, DuplicateActivation = 0.02, CrashBefore = 0.02 });
        Host host = Host.Simulate(simulation);
        string history = "";
        simulation.Run(async () =>
        {
            await host.Services.StartEmbeddedGrainsAsync();
            async Task Add(string who)
            {
                for (int i = 0; i < 5; i++)
                {
                    try
                    {
                        await host.Grains.GetGrain<ITallyGrain>($"t{i % 2}").Add(who);
                    }
                    catch (TimeoutException)
                    {
                        host.Journal.Write($"{who} timed out");
                    }
                }
            }

            await Task.WhenAll(Add("a"), Add("bb"), Add("ccc"));
            simulation.Faults.LoseReply = 0;
            history = await host.Grains.GetGrain<ITallyGrain>("t0").History();
        });
        return (simulation.TraceHash, history + string.Join(' ', host.Journal.Lines), [.. simulation.Trace]);
    }
}
