using ObjectStore.S3.Checksums;

namespace ObjectStore.Benchmarks.S3;

/// <summary>A checksum of a buffer that stays in the cache.</summary>
public abstract class ChecksumBenchmark(ChecksumAlgorithm algorithm, int sizeBytes) : Benchmark
{
    private readonly byte[] _data = new byte[sizeBytes];

    public override string Name => $"S3.{algorithm}.{sizeBytes}";

    public override long BytesPerOperation => _data.Length;

    public override void Setup() => new Random(1).NextBytes(_data);

    public override void Run(long operations)
    {
        ulong sum = 0;
        for (long i = 0; i < operations; i++)
        {
            sum += algorithm switch
            {
                ChecksumAlgorithm.Crc32 => Crc32.Hash(_data),
                ChecksumAlgorithm.Crc32C => Crc32C.Hash(_data),
                ChecksumAlgorithm.Crc64Nvme => Crc64Nvme.Hash(_data),
                _ => IncrementalChecksum.Compute(algorithm, _data).Bytes[0],
            };
        }

        GC.KeepAlive(sum);
    }
}

public sealed class Crc32Of64KiB() : ChecksumBenchmark(ChecksumAlgorithm.Crc32, 64 * 1024);

public sealed class Crc32COf64KiB() : ChecksumBenchmark(ChecksumAlgorithm.Crc32C, 64 * 1024);

public sealed class Crc64NvmeOf64KiB() : ChecksumBenchmark(ChecksumAlgorithm.Crc64Nvme, 64 * 1024);

public sealed class Crc64NvmeOf256B() : ChecksumBenchmark(ChecksumAlgorithm.Crc64Nvme, 256);

public sealed class Sha256Of64KiB() : ChecksumBenchmark(ChecksumAlgorithm.Sha256, 64 * 1024);
