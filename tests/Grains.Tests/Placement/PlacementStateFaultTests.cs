#if GRAIN_RUNTIME_EMBEDDED
using Microsoft.Extensions.DependencyInjection;
using ObjectStore.EmbeddedRuntime.State;
using ObjectStore.Storage.Placement;

namespace ObjectStore.Grains.Tests;

/// <summary>The map when its write fails. The embedded runtime's store can be made to fail; what the grain does is the same on both.</summary>
public sealed class PlacementStateFaultTests
{
    public enum Fault
    {
        /// <summary>Nothing is stored, and the grain hears of it.</summary>
        Refused,

        /// <summary>It is stored, and the grain does not hear of it.</summary>
        AnswerLost,

        /// <summary>Another activation was faster.</summary>
        RaceLost,
    }

    [Theory]
    [InlineData(Fault.Refused, 1)]
    [InlineData(Fault.AnswerLost, 2)]
    [InlineData(Fault.RaceLost, 1)]
    public async Task SetDrive_WhenTheWriteFails_Throws_AndTheMapIsWhatIsStored(Fault fault, long epoch)
    {
        FaultyStateStore store = new();
        await using GrainCluster cluster = await GrainCluster.StartAsync(new GrainOptions { PlacementGroups = 8 }, configure: services => services.AddSingleton<IGrainStateStore>(store));
        IPlacementGrain pool = cluster.Grains.GetGrain<IPlacementGrain>("pool");
        PlacementDrive[] drives = [.. Enumerable.Range(1, 4).Select(number => new PlacementDrive(new Guid(number, 0, 0, new byte[8]).ToString("N"), new DriveDomain("re", "z", "ra", "h"), 100L << 30))];
        await pool.RegisterDrivesAsync(new NodeRegistration("pool", "n", [.. drives]));

        store.Next = fault;
        await Assert.ThrowsAnyAsync<Exception>(() => pool.SetDriveAsync(drives[0].DriveId, DriveOrder.Drain));

        // Nobody has seen another map than the stored one, and the next change goes on from it.
        PlacementMap stored = (await pool.GetMapAsync())!;
        Assert.Equal(epoch, stored.Epoch);
        Assert.Equal(epoch == 2, ClusterMapFormat.Decode(stored.Encoded).Drives[0].Weight == 0);
        Assert.Equal(epoch + 1, (await pool.SetDriveAsync(drives[1].DriveId, DriveOrder.Drain)).Epoch);
    }

    private sealed class FaultyStateStore : IGrainStateStore
    {
        private readonly InMemoryGrainStateStore _inner = new();

        public Fault? Next { get; set; }

        public ValueTask<GrainStateRecord?> ReadAsync(GrainStateKey key, CancellationToken cancellationToken) => _inner.ReadAsync(key, cancellationToken);

        public async ValueTask<GrainStateResult> WriteAsync(GrainStateKey key, ReadOnlyMemory<byte> payload, string? expectedETag, CancellationToken cancellationToken)
        {
            Fault? fault = Next;
            Next = null;
            switch (fault)
            {
                case Fault.Refused:
                    throw new IOException("The disk is full.");
                case Fault.AnswerLost:
                    await _inner.WriteAsync(key, payload, expectedETag, cancellationToken);
                    throw new IOException("The answer was lost.");
                case Fault.RaceLost:
                    GrainStateRecord stored = (await _inner.ReadAsync(key, cancellationToken))!.Value;
                    await _inner.WriteAsync(key, stored.Payload, expectedETag, cancellationToken);
                    break;
            }

            return await _inner.WriteAsync(key, payload, expectedETag, cancellationToken);
        }

        public ValueTask<GrainStateResult> ClearAsync(GrainStateKey key, string? expectedETag, CancellationToken cancellationToken) => _inner.ClearAsync(key, expectedETag, cancellationToken);
    }
}
#endif
