using ObjectStore.Storage.Compaction;
using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Simulation;

namespace ObjectStore.Storage.Tests.Simulation;

/// <summary>Writes, rewrites, deletes and compaction at the same time, on a drive that loses power or fails.</summary>
public sealed class CompactionCrashTests(ITestOutputHelper output)
{
    private const int OperationsPerRun = 40;

    [Fact]
    public async Task PowerCut_AtEveryStep_LosesNothingAcknowledged_AndBringsNothingDeletedBack()
    {
        int first = Environment.GetEnvironmentVariable("OBJECTSTORE_SEED") is { } text ? int.Parse(text, System.Globalization.CultureInfo.InvariantCulture) : Environment.TickCount & 0xFFFFF;
        int runs = Environment.GetEnvironmentVariable("OBJECTSTORE_RUNS") is { } count ? int.Parse(count, System.Globalization.CultureInfo.InvariantCulture) : 3;
        output.WriteLine($"first seed {first} (set OBJECTSTORE_SEED to replay)");
        int cuts = 0, deleted = 0;
        for (int seed = first; seed < first + runs; seed++)
        {
            for (long step = 10; ; step += 3 + (seed % 3))
            {
                if (await RunUntilCut(seed, step) is not { } gone)
                    break;
                cuts++;
                deleted += gone;
            }
        }

        output.WriteLine($"{cuts} power cuts");
        Assert.True(cuts > 30 * runs && deleted > 0);
    }

    [Fact]
    public async Task PowerCut_AtEverySingleStepOfOneRun_LosesNothingAcknowledged()
    {
        const int Seed = 20;
        int cuts = 0;
        for (long step = 1; await RunUntilCut(Seed, step, OperationsPerRun * 2 / 3) is not null; step++)
            cuts++;
        output.WriteLine($"{cuts} power cuts");
        Assert.True(cuts > 100);
    }

    [Fact]
    public async Task RepeatedCrashes_WithOldIndexes_LoseNothing()
    {
        using var simulation = new SimulatedFragments(7);
        var model = new Model(simulation, 7);
        var random = new Random(7);
        for (int round = 0; round < 40; round++)
        {
            await model.Work(random.Next(1, 10));
            Dictionary<string, byte[]> older = simulation.CopyIndex();
            int deletedVolumes = simulation.Events.VolumesDeleted;
            simulation.Drive.Faults = new FaultPlan { PowerCutBeforeOperation = simulation.Drive.Operations + random.Next(5, 120) };
            try
            {
                await model.Work(OperationsPerRun);
            }
            catch (SimulatedCrashException)
            {
            }

            // The deletion of a volume is synced in the index; a state from before it cannot come back.
            bool undone = round % 3 == 1 && deletedVolumes == simulation.Events.VolumesDeleted && !simulation.Drive.DeletionBegan;
            simulation.Crash(loseIndex: round % 3 == 0, undone ? older : null);
            await model.Verify($"round {round}");
        }
    }

    [Fact]
    public async Task WriteAndSyncErrors_LoseNothingAcknowledged_AndBringNothingDeletedBack()
    {
        for (int seed = 1; seed <= 12; seed++)
        {
            using var simulation = new SimulatedFragments(seed);
            var model = new Model(simulation, seed);
            for (int round = 0; round < 3; round++)
            {
                simulation.Drive.Faults = new FaultPlan { WriteErrorProbability = 0.03, SyncErrorProbability = 0.03 };
                await model.Work(OperationsPerRun / 2);
                simulation.Drive.Faults = new FaultPlan();
                await model.Verify($"seed {seed}, round {round}, before the crash");
                simulation.Crash(loseIndex: (seed + round) % 2 == 0);
                await model.Verify($"seed {seed}, round {round}, after the crash");
            }
        }
    }

    /// <summary>The volumes that were deleted before the cut; null where the run ended before it.</summary>
    private static async Task<int?> RunUntilCut(int seed, long step, int operations = OperationsPerRun)
    {
        using var simulation = new SimulatedFragments(seed);
        var model = new Model(simulation, seed);
        simulation.Drive.Faults = new FaultPlan { PowerCutBeforeOperation = simulation.Drive.Operations + step };
        try
        {
            await model.Work(operations);
            return null;
        }
        catch (SimulatedCrashException)
        {
        }

        int deleted = simulation.Events.VolumesDeleted;
        simulation.Crash(loseIndex: step % 2 == 0);
        await model.Verify($"seed {seed}, step {step}");
        await model.Work(4);
        await simulation.Restart(loseIndex: step % 3 == 0);
        await model.Verify($"seed {seed}, step {step}, after a second start");
        return deleted;
    }

    /// <summary>What has been acknowledged, and what may or may not be there.</summary>
    private sealed class Model(SimulatedFragments simulation, int seed)
    {
        private readonly Random _random = new(seed * 31);
        private readonly Dictionary<FragmentKey, FragmentWrite> _live = [];
        private readonly Dictionary<FragmentKey, FragmentWrite> _unknown = [];
        private readonly Dictionary<FragmentKey, FragmentWrite> _deleted = [];
        private bool _compacting;
        private readonly HashSet<FragmentKey> _rewriting = []; // a delete at the same time would have no certain outcome

        public async Task Work(int operations)
        {
            _compacting = false;
            _rewriting.Clear();
            for (int i = 0; i < operations; i++)
            {
                List<Task> tasks = [];
                for (int j = _random.Next(1, 4); j > 0; j--)
                {
                    tasks.Add(_random.Next(12) switch
                    {
                        < 5 => Write(),
                        5 => WriteUnsynced(),
                        6 => Rewrite(),
                        < 10 => Delete(),
                        _ => Compact(),
                    });
                    for (int steps = _random.Next(3); steps > 0; steps--)
                        simulation.StepOnce();
                }

                Task all = Task.WhenAll(tasks);
                simulation.Step(all);
                await all;
            }
        }

        public async Task Verify(string when)
        {
            foreach (FragmentWrite write in _live.Values)
            {
                try
                {
                    Assert.Equal(write.Payload.ToArray(), await simulation.Read(write));
                }
                catch (StorageException e)
                {
                    Assert.Fail($"{when}: acknowledged fragment of {write.Payload.Length} bytes: {e.Message}");
                }
            }

            foreach (FragmentWrite write in _deleted.Values)
            {
                Exception? e = await Record.ExceptionAsync(() => simulation.Read(write));
                Assert.True(e is FragmentMissingException, $"{when}: deleted fragment {write.Key}: {e?.Message ?? "is back"}");
            }

            foreach (FragmentWrite write in _unknown.Values)
            {
                try
                {
                    Assert.Equal(write.Payload.ToArray(), await simulation.Read(write));
                }
                catch (FragmentMissingException)
                {
                }
            }
        }

        private Task Write()
        {
            FragmentWrite write = simulation.Make(_random.Next(4) == 0 ? _random.Next(60_000) : _random.Next(3_000));
            return Settle(write, simulation.Store.WriteAsync(write, true).AsTask());
        }

        private Task WriteUnsynced()
        {
            FragmentWrite[] writes = [.. Enumerable.Range(0, _random.Next(1, 5)).Select(_ => simulation.Make(_random.Next(60_000)))];
            foreach (FragmentWrite write in writes)
                _unknown[write.Key] = write;
            return Run();

            async Task Run()
            {
                try
                {
                    FragmentTicket[] tickets = await Task.WhenAll(writes.Select(write => simulation.Store.WriteAsync(write, false).AsTask()));
                    await simulation.Store.SyncAsync(tickets);
                }
                catch (Exception e) when (e is StorageException or OperationCanceledException)
                {
                    return;
                }

                foreach (FragmentWrite write in writes)
                {
                    _unknown.Remove(write.Key);
                    _live[write.Key] = write;
                }
            }
        }

        /// <summary>The same fragment again, also one that was deleted before, as when it moves away and back.</summary>
        private Task Rewrite()
        {
            Dictionary<FragmentKey, FragmentWrite> from = _random.Next(3) == 0 ? _deleted : _live;
            if (from.Count == 0)
                return Task.CompletedTask;
            FragmentWrite write = from.ElementAt(_random.Next(from.Count)).Value;
            if (from == _live)
            {
                if (!_rewriting.Add(write.Key))
                    return Task.CompletedTask;
                return Again(); // there whether this succeeds or not
            }

            _deleted.Remove(write.Key);
            return Settle(write, simulation.Store.WriteAsync(write, true).AsTask());

            async Task Again()
            {
                await Ignore(simulation.Store.WriteAsync(write, true).AsTask());
                _rewriting.Remove(write.Key);
            }
        }

        private async Task Delete()
        {
            var keys = new List<FragmentKey>();
            for (int i = _random.Next(1, 10); i > 0 && _live.Count > 0; i--)
            {
                FragmentWrite write = _live.ElementAt(_random.Next(_live.Count)).Value;
                if (_rewriting.Contains(write.Key))
                    continue;
                _live.Remove(write.Key);
                _unknown[write.Key] = write;
                keys.Add(write.Key);
            }

            try
            {
                await simulation.Store.DeleteAsync(keys.ToArray());
            }
            catch (StorageException)
            {
                return;
            }

            foreach (FragmentKey key in keys)
            {
                _deleted[key] = _unknown[key];
                _unknown.Remove(key);
            }
        }

        private async Task Compact()
        {
            if (_compacting)
                return; // the second would wait where no step can wake it
            _compacting = true;
            await Ignore(simulation.Store.CompactAsync(new CompactionOptions { GarbageRatio = _random.Next(3) * 0.2, BytesPerSecond = 0, MinActiveGarbageBytes = _random.Next(3) == 0 ? 1 : null }).AsTask());
            _compacting = false;
        }

        private async Task Ignore(Task task)
        {
            try
            {
                await task;
            }
            catch (StorageException)
            {
                // A volume was poisoned under it.
            }
        }

        private async Task Settle(FragmentWrite write, Task<FragmentTicket> task)
        {
            _unknown[write.Key] = write;
            try
            {
                await task;
            }
            catch (StorageException)
            {
                return;
            }

            _unknown.Remove(write.Key);
            _live[write.Key] = write;
        }
    }
}
