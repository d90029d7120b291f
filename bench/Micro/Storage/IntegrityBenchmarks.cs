using ObjectStore.Storage.Integrity;

namespace ObjectStore.Benchmarks.Storage;

/// <summary>The checksum of every record on a drive, of a warm buffer.</summary>
public abstract class RecordChecksumBenchmark(int sizeBytes) : Benchmark
{
    private readonly byte[] _data = new byte[sizeBytes];

    public override string Name => $"Storage.Crc64Nvme.{sizeBytes}";

    public override long BytesPerOperation => sizeBytes;

    public override void Setup() => new Random(1).NextBytes(_data);

    public override void Run(long operations)
    {
        ulong sum = 0;
        for (long i = 0; i < operations; i++)
            sum += Crc64Nvme.Compute(_data);
        GC.KeepAlive(sum);
    }
}

public sealed class RecordChecksumOf4KiB() : RecordChecksumBenchmark(4 * 1024);

public sealed class RecordChecksumOf128KiB() : RecordChecksumBenchmark(128 * 1024);

public sealed class RecordChecksumOf1MiB() : RecordChecksumBenchmark(1024 * 1024);
