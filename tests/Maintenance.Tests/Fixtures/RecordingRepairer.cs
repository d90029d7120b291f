using System.Collections.Concurrent;
using ObjectStore.Storage.Repair;

namespace ObjectStore.Maintenance.Tests.Fixtures;

/// <summary>The data plane's repairer, with what it was asked and a place to get in between.</summary>
internal sealed class RecordingRepairer(IFragmentRepairer inner) : IFragmentRepairer
{
    private readonly Lock _lock = new();
    private int _inside;

    /// <summary>In the order they were begun.</summary>
    public ConcurrentQueue<BlockRepair> Asked { get; } = [];

    /// <summary>Awaited before each repair.</summary>
    public Func<BlockRepair, CancellationToken, ValueTask>? Before { get; set; }

    public int MostInside { get; private set; }

    public async ValueTask<BlockRepairResult> RepairAsync(BlockRepair work, CancellationToken cancellationToken = default)
    {
        lock (_lock)
            MostInside = Math.Max(MostInside, ++_inside);
        try
        {
            if (Before is { } before)
                await before(work, cancellationToken);
            Asked.Enqueue(work);
            return await inner.RepairAsync(work, cancellationToken);
        }
        finally
        {
            lock (_lock)
                _inside--;
        }
    }
}
