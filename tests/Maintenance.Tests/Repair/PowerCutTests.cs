using System.Globalization;
using ObjectStore.Maintenance.Liveness;
using ObjectStore.Maintenance.Repair;
using ObjectStore.Maintenance.Tests.Fixtures;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Placement;
using ObjectStore.Storage.Simulation;

namespace ObjectStore.Maintenance.Tests.Repair;

/// <summary>
/// The power goes at any step of a repair, a drain, a rebalance onto a new drive, the sweep of the former drives and compaction, while clients write and delete; over the real drives' format,
/// index and recovery. OBJECTSTORE_SEED is the first seed, OBJECTSTORE_RUNS how many.
/// </summary>
public sealed class PowerCutTests(ITestOutputHelper output)
{
    private const int Drives = 9;
    private const int Points = 10;
    private const int MaxRounds = 200;

    [Fact]
    public async Task PowerCut_AtAnyStepOfRepairAndRebalance_LosesNothingAcknowledged()
    {
        int first = Number("OBJECTSTORE_SEED", Environment.TickCount & 0xFFFFF), runs = Number("OBJECTSTORE_RUNS", 1);
        output.WriteLine($"first seed {first} (set OBJECTSTORE_SEED to replay)");
        int cuts = 0, incomplete = 0, unswept = 0;
        for (int seed = first; seed < first + runs; seed++)
        {
            long steps = (await RunAsync(seed, long.MaxValue)).Steps;
            for (int point = 0; point < Points; point++)
            {
                Outcome outcome = await RunAsync(seed, 1 + (steps * point / Points) + (seed % Math.Max(1, steps / Points)));
                cuts += outcome.Cuts;
                incomplete += outcome.CutsBeforeCompletion;
                unswept += outcome.CutsBeforeSweep;
            }
        }

        output.WriteLine($"{cuts} power cuts, {incomplete} before all slots were complete, {unswept} after that and before the former drives were swept");
        Assert.True(cuts >= Points * runs && incomplete >= Points * runs / 6 && unswept >= Points * runs / 6, $"{cuts}, {incomplete}, {unswept}");
    }

    private static async Task<Outcome> RunAsync(int seed, long cutAfter)
    {
        await using var pool = new SimulatedPool(seed, Drives);
        await pool.StartAsync(spare: 1);
        string when = $"seed {seed}, cut after {cutAfter} steps";
        await pool.Process.RunAsync(async () =>
        {
            for (int i = 0; i < 12; i++)
                await pool.Process.PutAsync(Length(pool));
            await Delete(pool, 3);
            pool.Time.Advance(TimeSpan.FromMinutes(5));
            await pool.Process.ReclaimAsync();
        });
        pool.Lose(pool.Mapped[0].Id);
        pool.Drain(pool.Mapped[1].Id);
        if (seed % 2 == 0)
            pool.Join();
        Guid drained = pool.Mapped[1].Id;
        TestExtent[] old = [.. pool.Live.Values];

        long before = pool.Steps, steps = 0;
        int cuts = 0, incomplete = 0, unswept = 0;
        pool.CutAfter(cutAfter);
        while (true)
        {
            try
            {
                await pool.Process.RunAsync(() => LiveAsync(pool));
                steps = pool.Steps - before;
                break;
            }
            catch (SimulatedCrashException)
            {
                cuts++;
                incomplete += pool.IncompleteSlots > 0 ? 1 : 0;
                unswept += pool.IncompleteSlots == 0 && pool.Process.Repair.Status.SweepsPending > 0 ? 1 : 0;
                await pool.RestartAsync(loseIndexes: (cuts + cutAfter) % 2 == 1);
                await AssertNothingLostAsync(pool, old, $"{when}, after cut {cuts}");
                if (cuts < 3)
                    pool.CutAfter(1 + pool.Next(400));
            }
        }

        Assert.Empty(pool.Violations);
        await AssertWholeAsync(pool, when);
        Assert.DoesNotContain(await pool.Process.ListAsync(drained), key => pool.Live.ContainsKey(key.Extent));

        // Whole is whole on the media: nothing of it waits for a sync. And so whole that any two drives may go.
        await pool.RestartAsync(loseIndexes: true);
        await AssertWholeAsync(pool, $"{when}, after the last cut");
        Guid[] serving = [.. pool.Map.Groups.SelectMany(pool.Map.SlotsOf).Select(slot => slot.Drive!.Value).Distinct()];
        for (int i = 0; i < 3; i++)
        {
            Guid[] away = [serving[pool.Next(serving.Length)], serving[pool.Next(serving.Length)]];
            Array.ForEach(away, pool.Process.Lose);
            await AssertReadableAsync(pool, $"{when}, without {away[0]} and {away[1]}");
            Array.ForEach(away, pool.Process.BringBack);
        }

        await AssertDeletedGoesAsync(pool, when);
        return new Outcome(steps, cuts, incomplete, unswept);
    }

    /// <summary>Repairs, drains, sweeps, compacts, and serves clients meanwhile, until there is nothing left to do.</summary>
    private static async Task LiveAsync(SimulatedPool pool)
    {
        PoolProcess process = pool.Process;
        for (int round = 0; round < MaxRounds; round++)
        {
            Task clients = ServeAsync(pool, round < 6);
            Task compaction = round % 4 == 1 ? process.CompactAsync() : Task.CompletedTask;
            await Task.WhenAll(process.MaintainAsync(), clients, compaction);
            process.SeeMap();
            if (round >= 8 && process.IsAtRest && !await process.HasRepairsAsync())
                return;
            pool.Time.Advance(TimeSpan.FromSeconds(30));
        }

        Assert.Fail($"After {MaxRounds} rounds {pool.IncompleteSlots} slots are incomplete, {process.Repair.Status.SweepsPending} drives not swept; {process.Repair.Status.LastFailure}");
    }

    private static async Task ServeAsync(SimulatedPool pool, bool busy)
    {
        if (!busy)
            return;
        await Task.Yield();
        await pool.Process.PutAsync(Length(pool));
        await Delete(pool, pool.Next(2));
    }

    private static async Task Delete(SimulatedPool pool, int count)
    {
        for (; count > 0; count--)
            await pool.Process.DeleteAsync(pool.Live.OrderBy(extent => extent.Key).ElementAt(pool.Next(pool.Live.Count)).Value);
    }

    /// <summary>Half of them copies, half shards, some of several blocks.</summary>
    private static int Length(SimulatedPool pool) => pool.Next(8) switch
    {
        < 4 => 1 + pool.Next(SimulatedPool.SmallBelowBytes - 1),
        < 7 => SimulatedPool.SmallBelowBytes + pool.Next(60_000),
        _ => 250_000 + pool.Next(100_000),
    };

    /// <summary>Everything acknowledged reads right, and of what was whole before the drive was lost no more is gone than that drive: the drain and the sweeps have taken nothing.</summary>
    private static async Task AssertNothingLostAsync(SimulatedPool pool, TestExtent[] old, string when)
    {
        await AssertReadableAsync(pool, when);
        foreach (TestExtent extent in old.Where(extent => pool.Live.ContainsKey(extent.Id)))
        {
            for (int block = 0; block < extent.Shards.Length; block++)
            {
                int intact = 0;
                foreach (FragmentKey key in extent.Keys.Where(key => key.Block == block))
                {
                    foreach (Guid place in PassPlan.DrivesOf(pool.SlotsOf(extent)[key.Shard]))
                    {
                        if (!await pool.Process.IsIntactAsync(extent, key, place))
                            continue;
                        intact++;
                        break;
                    }
                }

                Assert.True(intact >= extent.Scheme.Width - 1, $"{when}: of block {block} of {extent.Id} ({extent.Scheme}) {intact} fragments are left.");
            }
        }
    }

    private static async Task AssertReadableAsync(SimulatedPool pool, string when)
    {
        foreach (TestExtent extent in pool.Live.Values)
        {
            try
            {
                byte[] bytes = await pool.Process.ReadAsync(extent);
                byte[] expected = [.. Enumerable.Range(0, extent.Shards.Length).SelectMany(block => extent.Shards[block].Take(extent.Scheme.DataShards).SelectMany(shard => shard).Take(extent.BlockLength(block)))];
                Assert.True(bytes.AsSpan().SequenceEqual(expected), $"{when}: {extent.Id} of {extent.LengthBytes} bytes reads wrong.");
            }
            catch (Storage.StorageException e)
            {
                Assert.Fail($"{when}: acknowledged extent {extent.Id} of {extent.LengthBytes} bytes ({extent.Scheme}): {e.Message}");
            }
        }
    }

    /// <summary>Every fragment is on the drive of its slot.</summary>
    private static async Task AssertWholeAsync(SimulatedPool pool, string when)
    {
        Assert.Equal(0, pool.IncompleteSlots);
        foreach (TestExtent extent in pool.Live.Values)
        {
            foreach (FragmentKey key in extent.Keys)
                Assert.True(await pool.Process.IsIntactAsync(extent, key, pool.SlotsOf(extent)[key.Shard].Drive!.Value), $"{when}: {key} of {extent.Scheme} is not on the drive of its slot.");
        }
    }

    /// <summary>
    /// Nothing that was deleted stays. A fragment that was on a former drive when its extent was deleted may have been brought home by the sweep, since nothing tells it from a write under way; it
    /// goes with the orphans, after three days.
    /// </summary>
    private static async Task AssertDeletedGoesAsync(SimulatedPool pool, string when)
    {
        pool.Time.Advance(MetadataExtentLiveness.DefaultOrphanGrace);
        for (int day = 0; day < 4; day++)
        {
            // The newest are compared before all are. Of an extent of several blocks a comparison may find one after the other.
            pool.Time.Advance(TimeSpan.FromHours(25));
            for (int round = 0; round < 4; round++)
                await pool.Process.RunAsync(pool.Process.MaintainAsync);
        }

        foreach (MappedDrive drive in pool.Map.Drives.Where(drive => drive.IsReadable))
        {
            foreach (FragmentKey key in await pool.Process.ListAsync(drive.Id))
                Assert.False(pool.Deleted.TryGetValue(key.Extent, out TestExtent? extent), $"{when}: {key} of {extent?.Scheme} was deleted and is on {drive.Id}.");
        }
    }

    private static int Number(string variable, int otherwise) => Environment.GetEnvironmentVariable(variable) is { } text ? int.Parse(text, CultureInfo.InvariantCulture) : otherwise;

    private readonly record struct Outcome(long Steps, int Cuts, int CutsBeforeCompletion, int CutsBeforeSweep);
}
