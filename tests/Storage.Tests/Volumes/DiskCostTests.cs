using ObjectStore.Storage.Drives;
using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Integrity;
using ObjectStore.Storage.Tests.Simulation;
using ObjectStore.Storage.Volumes;

namespace ObjectStore.Storage.Tests.Volumes;

/// <summary>What fragments cost on disk beyond their bytes.</summary>
public sealed class DiskCostTests(ITestOutputHelper output)
{
    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(1024, 6000, 1160)] // 3 copies of a 1 KiB object: 3.4 KiB
    [InlineData(174_784, 60, 178_257)] // a shard of 1 MiB on 6+3: 1.53 × in all
    public async Task Fragment_WithItsShareOfTheIndex_StaysBelowItsBound(int payloadBytes, int count, int boundBytes)
    {
        using var folder = new TestFolder();
        var options = new StorageOptions { DrivePaths = [folder.Path], VolumeSizeBytes = 64 << 20, HeadroomBytes = 0, WritersPerDrive = 1 };
        var random = new Random(3);
        var ids = new ExtentIdFactory(TimeProvider.System, () => (ulong)random.NextInt64());
        Scheme scheme = payloadBytes == 1024 ? Scheme.Copies(3) : new Scheme(6, 3);
        byte[] payload = FaultTests.Bytes(random, payloadBytes);
        ulong[] checksums = [.. payload.Chunk(65536).Select(chunk => Crc64Nvme.Compute(chunk))];
        byte[] key = "photos/2026/img-0001"u8.ToArray();
        long live;
        double onDisk;
        await using (LocalDrives drives = await LocalDrives.OpenAsync(options, TimeProvider.System, () => 1, NoStorageEvents.Instance, Stop))
        {
            LocalFragmentStore store = drives.Drives[0];
            int left = count;
            await Task.WhenAll(Enumerable.Range(0, 32).Select(_ => Task.Run(
                async () =>
                {
                    while (Interlocked.Decrement(ref left) >= 0)
                    {
                        var descriptor = new ExtentDescriptor(ids.Next(), 200, 1234, key, new UInt128(638, 77), 1);
                        await store.WriteAsync(new FragmentWrite(descriptor, scheme, 1 << 20, 0, payloadBytes == 1024 ? 1024 : 1 << 20, 2, payload, checksums), true, Stop);
                    }
                },
                Stop)));
            live = store.Engine.Index.Totals().LiveBytes;
            onDisk = store.Engine.Index.Volumes.Values.Sum(volume => volume.DurableEnd - VolumeFormat.LogStart);
            Assert.Equal(count, (await store.GetStatisticsAsync(Stop)).LiveFragments);
        }

        long index = new FileInfo(Path.Combine(folder.Path, "index.db")).Length;
        output.WriteLine($"{payloadBytes} bytes: record {live / (double)count:f1}, index {index / (double)count:f1}, in all {(live + index) / (double)count:f1}; with the padding of synced batches of 32 callers {(onDisk + index) / count:f1}");
        Assert.True(live + index <= (long)boundBytes * count, $"{(live + index) / (double)count} bytes");
    }
}
