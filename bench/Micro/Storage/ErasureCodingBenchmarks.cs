using System.Runtime.InteropServices;
using ObjectStore.Storage.ErasureCoding;
using ObjectStore.Storage.Extents;

namespace ObjectStore.Benchmarks.Storage;

/// <summary>
/// Encoding a block, or making two lost data shards again, on one thread and in warm buffers; MB/s are of data. The shards follow one another in memory, as those of a
/// block do, which for powers of two is the hard case: all fall on the same cache sets. The program in bench/IsaL lays them out alike.
/// </summary>
public abstract unsafe class ErasureCodingBenchmark(string operation, int dataShards, int parityShards, int shardBytes, string? kernel = null) : Benchmark
{
    private readonly nint[] _shards = new nint[dataShards + parityShards];
    private ReedSolomon _code = null!;
    private void* _memory;

    public override string Name => $"ErasureCoding.{operation}.{dataShards}+{parityShards}.{shardBytes}{(kernel is null ? "" : "." + kernel)}";

    public override bool IsSupported => kernel is null || Find(kernel) is not null;

    public override long BytesPerOperation => (long)dataShards * shardBytes;

    public override void Setup()
    {
        Scheme scheme = new(dataShards, parityShards);
        _code = kernel is null ? ReedSolomon.For(scheme) : new ReedSolomon(scheme, Find(kernel)!);
        _memory = NativeMemory.AlignedAlloc((nuint)shardBytes * (nuint)_shards.Length, 4096);
        for (int i = 0; i < _shards.Length; i++)
            _shards[i] = (nint)_memory + (i * shardBytes);
        var random = new Random(1);
        foreach (nint shard in _shards)
            random.NextBytes(new Span<byte>((void*)shard, shardBytes));
        Encode();
    }

    public override void Run(long operations)
    {
        ShardSet lost = new(3);
        ShardSet present = new(ShardSet.All(_shards.Length).Bits & ~lost.Bits);
        for (long i = 0; i < operations; i++)
        {
            if (operation == "Encode")
                Encode();
            else
                _code.Reconstruct(present, lost, _shards, shardBytes);
        }
    }

    public override void Cleanup() => NativeMemory.AlignedFree(_memory);

    private static CodingKernel? Find(string kernel) => CodingKernel.Supported().FirstOrDefault(supported => supported.Name == kernel);

    private void Encode() => _code.Encode(_shards.AsSpan(0, dataShards), _shards.AsSpan(dataShards), shardBytes);
}

public sealed class Encode6And3Of128KiB() : ErasureCodingBenchmark("Encode", 6, 3, 128 * 1024);

public sealed class Encode6And3Of1MiB() : ErasureCodingBenchmark("Encode", 6, 3, 1024 * 1024);

public sealed class Encode8And4Of128KiB() : ErasureCodingBenchmark("Encode", 8, 4, 128 * 1024);

public sealed class Encode8And4Of1MiB() : ErasureCodingBenchmark("Encode", 8, 4, 1024 * 1024);

public sealed class Encode10And4Of128KiB() : ErasureCodingBenchmark("Encode", 10, 4, 128 * 1024);

public sealed class Encode10And4Of1MiB() : ErasureCodingBenchmark("Encode", 10, 4, 1024 * 1024);

public sealed class Reconstruct6And3Of128KiB() : ErasureCodingBenchmark("Reconstruct2", 6, 3, 128 * 1024);

public sealed class Reconstruct6And3Of1MiB() : ErasureCodingBenchmark("Reconstruct2", 6, 3, 1024 * 1024);

public sealed class Reconstruct8And4Of128KiB() : ErasureCodingBenchmark("Reconstruct2", 8, 4, 128 * 1024);

public sealed class Reconstruct8And4Of1MiB() : ErasureCodingBenchmark("Reconstruct2", 8, 4, 1024 * 1024);

public sealed class Reconstruct10And4Of128KiB() : ErasureCodingBenchmark("Reconstruct2", 10, 4, 128 * 1024);

public sealed class Reconstruct10And4Of1MiB() : ErasureCodingBenchmark("Reconstruct2", 10, 4, 1024 * 1024);

public sealed class Encode8And4ByGfni512() : ErasureCodingBenchmark("Encode", 8, 4, 128 * 1024, "GFNI-512");

public sealed class Encode8And4ByGfni256() : ErasureCodingBenchmark("Encode", 8, 4, 128 * 1024, "GFNI-256");

public sealed class Encode8And4ByAvx2() : ErasureCodingBenchmark("Encode", 8, 4, 128 * 1024, "AVX2");

public sealed class Encode8And4BySsse3() : ErasureCodingBenchmark("Encode", 8, 4, 128 * 1024, "SSSE3");

public sealed class Encode8And4ByArm64() : ErasureCodingBenchmark("Encode", 8, 4, 128 * 1024, "Arm64");

public sealed class Encode8And4ByScalar() : ErasureCodingBenchmark("Encode", 8, 4, 128 * 1024, "scalar");
