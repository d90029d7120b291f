using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Simulation;

namespace ObjectStore.Storage.Tests.Simulation;

public sealed class CrashTests(ITestOutputHelper output)
{
    private const int OperationsPerRun = 40;

    [Fact]
    public async Task PowerCut_AtEveryStep_LosesNothingAcknowledgedAndShowsNothingHalf()
    {
        int first = Environment.GetEnvironmentVariable("OBJECTSTORE_SEED") is { } text ? int.Parse(text, System.Globalization.CultureInfo.InvariantCulture) : Environment.TickCount & 0xFFFFF;
        output.WriteLine($"first seed {first} (set OBJECTSTORE_SEED to replay)");
        int seeds = 0;
        for (int seed = first; seed < first + 2; seed++)
        {
            for (long step = 3; ; step += 1 + (seed % 3))
            {
                if (!await RunUntilCut(seed, step))
                    break;
                seeds++;
            }
        }

        output.WriteLine($"{seeds} power cuts");
        Assert.True(seeds > 30);
    }

    [Fact]
    public async Task PowerCut_AtEverySingleStepOfOneRun_LosesNothingAcknowledged()
    {
        const int Seed = 20;
        int cuts = 0;
        for (long step = 1; await RunUntilCut(Seed, step); step++)
            cuts++;
        output.WriteLine($"{cuts} power cuts");
        Assert.True(cuts > 100);
    }

    [Fact]
    public async Task PowerCut_AfterMuchWork_ReplaysNoMoreThanAfterLittle()
    {
        using var simulation = new SimulatedStore(8);
        var model = new Model(simulation, 8);
        long worst = 0;
        for (int cut = 0; cut < 20; cut++)
        {
            simulation.Drive.Faults = new FaultPlan { PowerCutBeforeOperation = simulation.Drive.Operations + 150 + (7 * cut) };
            await Assert.ThrowsAsync<SimulatedCrashException>(() => model.Work(1_000));
            simulation.Crash(loseIndex: false);
            Assert.False(simulation.Events.LastRecovery!.RebuiltIndex);
            worst = Math.Max(worst, simulation.Events.LastRecovery.Fragments);
        }

        // Seven that were applied since a flush of the index, and the blocks of two streams that were not synced.
        output.WriteLine($"at most {worst} fragments");
        Assert.InRange(worst, 1, 7 + 10);
    }

    [Fact]
    public async Task WriteAndSyncErrors_NeverLoseWhatWasAcknowledged()
    {
        for (int seed = 1; seed <= 30; seed++)
        {
            using var simulation = new SimulatedStore(seed);
            simulation.Drive.Faults = new FaultPlan { WriteErrorProbability = 0.03, SyncErrorProbability = 0.03 };
            var model = new Model(simulation, seed);
            await model.Work(OperationsPerRun);
            simulation.Drive.Faults = new FaultPlan();
            await model.Verify($"seed {seed}, before the crash");
            simulation.Crash(loseIndex: seed % 2 == 0);
            await model.Verify($"seed {seed}, after the crash");
        }
    }

    [Fact]
    public async Task RepeatedCrashes_OnOneDrive_LoseNothingAcknowledged()
    {
        using var simulation = new SimulatedStore(7);
        var model = new Model(simulation, 7);
        var random = new Random(7);
        int undoneIndexes = 0;
        for (int round = 0; round < 40; round++)
        {
            // The deletion of a volume is synced in the index; a state from before it cannot come back.
            Dictionary<string, byte[]>? older = null;
            await model.Work(random.Next(1, 10));
            older = simulation.CopyIndex();
            int deletedVolumes = simulation.Events.VolumesDeleted;
            simulation.Drive.Faults = new FaultPlan { PowerCutBeforeOperation = simulation.Drive.Operations + random.Next(5, 80) };
            try
            {
                await model.Work(OperationsPerRun);
            }
            catch (SimulatedCrashException)
            {
            }

            bool undone = round % 3 == 1 && deletedVolumes == simulation.Events.VolumesDeleted && !simulation.Drive.DeletionBegan;
            undoneIndexes += undone ? 1 : 0;
            simulation.Crash(loseIndex: round % 3 == 0, undone ? older : null);
            await model.Verify($"round {round}");
        }

        Assert.True(undoneIndexes > 3);
    }

    private static async Task<bool> RunUntilCut(int seed, long step)
    {
        using var simulation = new SimulatedStore(seed);
        var model = new Model(simulation, seed);
        simulation.Drive.Faults = new FaultPlan { PowerCutBeforeOperation = simulation.Drive.Operations + step };
        try
        {
            await model.Work(OperationsPerRun);
            return false;
        }
        catch (SimulatedCrashException)
        {
        }

        simulation.Crash(loseIndex: step % 2 == 0);
        await model.Verify($"seed {seed}, step {step}");
        await simulation.Restart(loseIndex: step % 3 == 0);
        await model.Verify($"seed {seed}, step {step}, after a second start");

        // The store goes on working on what the crash left.
        await model.Work(5);
        await model.Verify($"seed {seed}, step {step}, after more work");
        return true;
    }

    /// <summary>What the store has acknowledged, and what it may or may not hold.</summary>
    private sealed class Model(SimulatedStore simulation, int seed)
    {
        private readonly Random _random = new(seed * 31);
        private readonly Dictionary<ExtentLayout, byte[]> _live = [];
        private readonly Dictionary<ExtentLayout, byte[]> _unknown = []; // begun, not acknowledged: whole or not there
        private readonly List<ExtentLayout> _deleted = [];

        public async Task Work(int operations)
        {
            for (int i = 0; i < operations; i++)
            {
                switch (_random.Next(10))
                {
                    case < 5:
                        await WriteGroup();
                        break;
                    case < 7:
                        await WriteStream(complete: true);
                        break;
                    case 7:
                        await WriteStream(complete: false);
                        break;
                    default:
                        await Delete();
                        break;
                }
            }
        }

        public async Task Verify(string when)
        {
            foreach ((ExtentLayout layout, byte[] bytes) in _live)
            {
                try
                {
                    Assert.Equal(bytes, await simulation.Read(layout));
                }
                catch (StorageException e)
                {
                    Assert.Fail($"{when}: acknowledged extent of {layout.LengthBytes} bytes: {e.Message}");
                }
            }

            foreach (ExtentLayout layout in _deleted)
                await Assert.ThrowsAsync<FragmentMissingException>(() => simulation.Read(layout));
            foreach ((ExtentLayout layout, byte[] bytes) in _unknown)
            {
                try
                {
                    Assert.Equal(bytes, await simulation.Read(layout));
                }
                catch (FragmentMissingException)
                {
                }
                catch (FragmentCorruptException e)
                {
                    Assert.Fail($"{when}: extent of {layout.LengthBytes} bytes that was never acknowledged is neither whole nor missing: {e.Message}");
                }
            }
        }

        private async Task WriteGroup()
        {
            var writes = new List<(ExtentLayout Layout, byte[] Bytes, Task<ExtentLayout> Task)>();
            for (int i = _random.Next(1, 6); i > 0; i--)
            {
                byte[] bytes = Bytes(_random.Next(4) == 0 ? _random.Next(60_000) : _random.Next(3_000));
                ExtentDescriptor descriptor = Descriptor();
                var layout = new ExtentLayout(descriptor.Id, descriptor.PlacementGroup, Scheme.SingleCopy.Id, 64 << 10, bytes.Length);
                _unknown.Add(layout, bytes);
                writes.Add((layout, bytes, simulation.Store.WriteAsync(descriptor, bytes).AsTask()));
            }

            foreach ((ExtentLayout layout, byte[] bytes, Task<ExtentLayout> task) in writes)
                await Settle(layout, bytes, task);
        }

        private async Task WriteStream(bool complete)
        {
            byte[] bytes = Bytes(_random.Next(1, 300_000));
            ExtentDescriptor descriptor = Descriptor();
            var layout = new ExtentLayout(descriptor.Id, descriptor.PlacementGroup, Scheme.SingleCopy.Id, 64 << 10, bytes.Length);
            _unknown.Add(layout, bytes);
            Task<ExtentLayout> task = Stream(descriptor, bytes, complete);
            await Settle(layout, bytes, task);
        }

        private async Task<ExtentLayout> Stream(ExtentDescriptor descriptor, byte[] bytes, bool complete)
        {
            await using IExtentWriter writer = simulation.Store.CreateExtent(descriptor, _random.Next(2) == 0 ? bytes.Length : null);
            for (int done = 0; done < bytes.Length;)
            {
                Memory<byte> room = writer.GetMemory();
                int count = Math.Min(Math.Min(room.Length, bytes.Length - done), _random.Next(1, 70_000));
                bytes.AsMemory(done, count).CopyTo(room);
                writer.Advance(count);
                done += count;
                await writer.FlushIfFullAsync();
            }

            return complete ? await writer.CompleteAsync() : throw new OperationCanceledException();
        }

        private async Task Settle(ExtentLayout layout, byte[] bytes, Task<ExtentLayout> task)
        {
            try
            {
                simulation.Pump(task);
                Assert.Equal(layout, await task);
                _live.Add(layout, bytes);
                _unknown.Remove(layout);
            }
            catch (Exception e) when (e is StorageException or OperationCanceledException or IOException)
            {
                // Reported as failed, or abandoned.
            }
        }

        private async Task Delete()
        {
            if (_live.Count == 0)
                return;
            for (int i = _random.Next(1, 8); i > 0 && _live.Count > 0; i--)
            {
                (ExtentLayout layout, byte[] bytes) = _live.ElementAt(_random.Next(_live.Count));
                _live.Remove(layout);
                _unknown.Add(layout, bytes);
                try
                {
                    await simulation.Finish(simulation.Store.DeleteAsync(layout));
                }
                catch (Exception e) when (e is StorageException or IOException)
                {
                    continue;
                }

                _unknown.Remove(layout);
                _deleted.Add(layout);
            }
        }

        private ExtentDescriptor Descriptor()
        {
            ExtentId id = simulation.Store.Ids.Next();
            return new ExtentDescriptor(id, simulation.Store.ClusterMap.GroupOf(id, 1).Value, 5, Bytes(_random.Next(1, 40)), (UInt128)_random.NextInt64(), _random.Next(3));
        }

        private byte[] Bytes(int length)
        {
            var bytes = new byte[length];
            _random.NextBytes(bytes);
            return bytes;
        }
    }
}
