using System.Collections.Concurrent;
using Microsoft.Extensions.Logging.Abstractions;
using ObjectStore.EmbeddedRuntime.Simulation;
using ObjectStore.Grains;
using ObjectStore.Maintenance.Reclamation;
using ObjectStore.Storage;
using ObjectStore.Storage.Drives;
using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Placement;
using ObjectStore.Testing;

namespace ObjectStore.Maintenance.Tests.Reclamation;

public sealed class GarbageReclaimerTests
{
    private readonly VirtualTimeProvider _time = new();
    private readonly InMemoryMetadataStore _metadata = new();
    private readonly DeletingStore _extents = new();

    [Fact]
    public async Task Extents_ThatCannotBeDeleted_DoNotHoldUpThoseBehindThem()
    {
        await _metadata.AddGarbageAsync([.. Enumerable.Range(1, 600).Select(Extent)], 0);
        await _metadata.AddGarbageAsync([.. Enumerable.Range(1001, 20).Select(Extent)], 1);
        _extents.Fails = low => low < 1000;
        using GarbageReclaimer reclaimer = Create();
        Assert.Equal(20, await reclaimer.ReclaimAsync(CancellationToken.None));
        Assert.Equal(600, _metadata.GarbageCount);

        // They are put off, for longer each time, and survive a restart with it.
        int before = _extents.Asked;
        Assert.Equal(0, await reclaimer.ReclaimAsync(CancellationToken.None));
        Assert.Equal(before, _extents.Asked);
        _time.Advance(TimeSpan.FromSeconds(31));
        await reclaimer.ReclaimAsync(CancellationToken.None);
        Assert.Equal(before + 600, _extents.Asked);
        _time.Advance(TimeSpan.FromSeconds(31));
        await reclaimer.ReclaimAsync(CancellationToken.None);
        Assert.Equal(before + 600, _extents.Asked);
        _time.Advance(TimeSpan.FromSeconds(31));
        _extents.Fails = _ => false;
        using GarbageReclaimer restarted = Create();
        Assert.Equal(600, await restarted.ReclaimAsync(CancellationToken.None));
        Assert.Equal(0, _metadata.GarbageCount);
    }

    [Fact]
    public async Task Paused_NothingIsDeleted_UntilItIsResumed()
    {
        await _metadata.AddGarbageAsync([.. Enumerable.Range(1, 10).Select(Extent)], 0);
        using GarbageReclaimer reclaimer = Create();
        reclaimer.Pause();
        Task<long> reclaiming = reclaimer.ReclaimAsync(CancellationToken.None);
        await Task.Yield();
        Assert.Equal((false, 0, true), (reclaiming.IsCompleted, _extents.Asked, reclaimer.IsPaused));
        reclaimer.Resume();
        Assert.Equal(10, await reclaiming.WaitAsync(TimeSpan.FromSeconds(20), TestContext.Current.CancellationToken));
    }

    [Fact]
    public async Task Deletes_RunSoManyAtOnce()
    {
        await _metadata.AddGarbageAsync([.. Enumerable.Range(1, 50).Select(Extent)], 0);
        TaskCompletionSource four = new(TaskCreationOptions.RunContinuationsAsynchronously);
        int inside = 0, most = 0;
        _extents.Before = async () =>
        {
            most = Math.Max(most, Interlocked.Increment(ref inside));
            if (inside == 4)
                four.TrySetResult();
            await four.Task.WaitAsync(TimeSpan.FromSeconds(30));
            Interlocked.Decrement(ref inside);
        };
        using GarbageReclaimer reclaimer = Create(new GarbageReclaimerOptions { ParallelDeletes = 4, BatchExtents = 20 });
        Assert.Equal(50, await reclaimer.ReclaimAsync(CancellationToken.None));
        Assert.Equal(4, most);
    }

    [Fact]
    public async Task Reclaim_WhenItIsStopped_ForgetsNothingThatWasNotDeleted()
    {
        await _metadata.AddGarbageAsync([.. Enumerable.Range(1, 50).Select(Extent)], 0);
        using CancellationTokenSource stop = new();
        _extents.Before = () =>
        {
            if (_extents.Deleted.Count == 10)
                stop.Cancel();
            stop.Token.ThrowIfCancellationRequested();
            return Task.CompletedTask;
        };
        using GarbageReclaimer reclaimer = Create(new GarbageReclaimerOptions { ParallelDeletes = 2 });
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => reclaimer.ReclaimAsync(stop.Token));
        Assert.Equal(50, _metadata.GarbageCount);
        Assert.All(await _metadata.ListGarbageAsync(0, 100), garbage => Assert.Equal(0, garbage.Attempts));
    }

    private GarbageReclaimer Create(GarbageReclaimerOptions? options = null)
        => new(_metadata, _extents, _time, options ?? new GarbageReclaimerOptions(), NullLogger<GarbageReclaimer>.Instance);

    private static PartLayout Extent(int number) => new(1, 100, 1, 7, (ulong)number, Scheme.Copies(3).Id, 1 << 20, new ETag(1, 2, 0), null);

    private sealed class DeletingStore : IExtentStore
    {
        private int _asked;

        public Func<ulong, bool> Fails { get; set; } = _ => false;

        public Func<Task>? Before { get; set; }

        public int Asked => _asked;

        public ConcurrentBag<ExtentId> Deleted { get; } = [];

        public IClusterMap ClusterMap => throw new NotSupportedException();

        public ExtentIdFactory Ids => throw new NotSupportedException();

        public async ValueTask DeleteAsync(ExtentLayout layout, CancellationToken cancellationToken = default)
        {
            Interlocked.Increment(ref _asked);
            if (Before is { } before)
                await before();
            if (Fails((ulong)layout.Id.Value))
                throw new DriveUnavailableException(Guid.Empty, "test");
            Deleted.Add(layout.Id);
        }

        public IExtentWriter CreateExtent(ExtentDescriptor descriptor, long? expectedLengthBytes = null) => throw new NotSupportedException();

        public ValueTask<ExtentLayout> WriteAsync(ExtentDescriptor descriptor, ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken = default) => throw new NotSupportedException();

        public IExtentReader OpenRead(ExtentLayout layout, long offsetBytes, long lengthBytes) => throw new NotSupportedException();

        public bool TryReadSmall(ExtentLayout layout, Span<byte> destination) => throw new NotSupportedException();

        public IReadOnlyList<DriveStatistics> GetStatistics() => throw new NotSupportedException();

        public ValueTask DisposeAsync() => default;
    }
}
