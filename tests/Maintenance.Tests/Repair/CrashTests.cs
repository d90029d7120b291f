using ObjectStore.Maintenance.Repair;
using ObjectStore.Maintenance.Tests.Fixtures;
using ObjectStore.Storage;
using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Simulation;
using ObjectStore.Testing;

namespace ObjectStore.Maintenance.Tests.Repair;

/// <summary>A process that dies at any step of a repair or a drain: the next one finishes it, and nothing is lost meanwhile.</summary>
public sealed class CrashTests
{
    private const int Points = 40;

    [Theory]
    [InlineData(11)]
    [InlineData(12)]
    public async Task Crash_AtAnyStepOfRepairAndDrain_LosesNothingAndIsFinishedByTheNext(int seed)
    {
        int steps = await RunAsync(seed, crashAt: int.MaxValue);
        Assert.True(steps > Points);
        for (int point = 0; point < Points; point++)
            await RunAsync(seed, 1 + (int)((long)steps * point / Points));
    }

    /// <summary>Loses a drive and drains another, with a crash at a step; how many steps there were.</summary>
    private static async Task<int> RunAsync(int seed, int crashAt)
    {
        TestCluster cluster = await TestCluster.CreateAsync(drives: 9, groups: 3, seed);
        await cluster.WriteManyAsync(12, maxBytes: 9000);
        TestExtent dead = await cluster.WriteAsync(Scheme.Copies(3));
        await cluster.DeleteAsync(dead);
        cluster.Lose(cluster.Mapped[0].Id);
        cluster.Drain(cluster.Mapped[1].Id);

        // Every call of a drive or the metadata is a step. From the crash on none takes effect, whoever still asks.
        int steps = 0;
        bool crashed = false;
        using CancellationTokenSource death = new();
        void Step()
        {
            if (Interlocked.Increment(ref steps) < crashAt && !crashed)
                return;
            crashed = true;
            death.Cancel();
            throw new DriveUnavailableException(Guid.Empty, "the process is gone");
        }

        cluster.Metadata.OnCall = _ =>
        {
            Step();
            return null;
        };
        foreach (IFragmentStore drive in cluster.All)
        {
            ((MemoryFragmentStore)drive).Fault = (_, _, _) =>
            {
                Step();
                return default;
            };
        }

        cluster.OnComplete = _ => Step();
        bool finished = false;
        try
        {
            RepairService first = cluster.CreateRepair();
            await first.BeginAsync(death.Token);
            for (int i = 0; i < 60 && !crashed && !finished; i++)
            {
                if (!await first.RunNextPassAsync(death.Token))
                    cluster.Time.Advance(TimeSpan.FromSeconds(30));
                finished = cluster.IncompleteSlots == 0 && first.Status.SweepsPending == 0;
            }
        }
        catch (Exception e) when (crashed && e is StorageException or OperationCanceledException)
        {
            // As it would be: nobody is told.
        }

        int taken = steps;
        cluster.Metadata.OnCall = null;
        cluster.OnComplete = null;
        foreach (IFragmentStore drive in cluster.All)
            ((MemoryFragmentStore)drive).Fault = null;
        Assert.True(crashed || finished);

        // Enough of every block is there at each moment: as many as the scheme needs, on the drives that the map names or that it names as sources.
        foreach (TestExtent extent in cluster.Live)
        {
            for (int block = 0; block < extent.Shards.Length; block++)
            {
                int intact = 0;
                foreach (FragmentKey key in extent.Keys.Where(key => key.Block == block))
                {
                    foreach (Guid place in PassPlan.DrivesOf(cluster.Map.SlotsOf(new Storage.Placement.PlacementGroupId(extent.Group))[key.Shard]))
                    {
                        if (await cluster.IsIntactAsync(extent, key, place))
                        {
                            intact++;
                            break;
                        }
                    }
                }

                Assert.True(intact >= extent.Scheme.Width - 1, $"{extent.Id}/{block} of {extent.Scheme}: {intact} are left after a crash at step {crashAt} (seed {seed}).");
            }
        }

        RepairService second = cluster.CreateRepair();
        await second.BeginAsync(CancellationToken.None);
        await cluster.RunPassesUntilAsync(second, () => cluster.IncompleteSlots == 0 && second.Status.SweepsPending == 0);
        await cluster.AssertWholeAsync();
        Assert.DoesNotContain(cluster.Store(cluster.Mapped[1].Id).Keys, key => key.Extent != dead.Id);
        return taken;
    }
}
