using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.Arm;
using System.Runtime.Intrinsics.X86;
using ObjectStore.Storage.ErasureCoding;
using ObjectStore.Storage.Extents;

namespace ObjectStore.Storage.Tests.ErasureCoding;

public sealed class ReedSolomonTests
{
    private static readonly string[] AllKernels = ["GFNI-512", "GFNI-256", "AVX2", "SSSE3", "Arm64", "scalar"];

    public static TheoryData<string> Kernels => [.. CodingKernel.Supported().Select(kernel => kernel.Name)];

    public static TheoryData<string, int, int> KernelsAndSchemes
    {
        get
        {
            TheoryData<string, int, int> rows = [];
            foreach (CodingKernel kernel in CodingKernel.Supported())
            {
                foreach ((int k, int m) in new[] { (2, 2), (4, 2), (6, 3), (8, 4), (10, 4) })
                    rows.Add(kernel.Name, k, m);
            }

            return rows;
        }
    }

    [Fact]
    public void Supported_HasAKernelForEveryVectorOfTheProcessor_TheFastestFirst()
    {
        List<string> expected = [];
        if (Gfni.V512.IsSupported && Vector512.IsHardwareAccelerated)
            expected.Add("GFNI-512");
        if (Gfni.V256.IsSupported)
            expected.Add("GFNI-256");
        if (Avx2.IsSupported)
            expected.Add("AVX2");
        if (Ssse3.IsSupported)
            expected.Add("SSSE3");
        if (AdvSimd.Arm64.IsSupported)
            expected.Add("Arm64");
        expected.Add("scalar");
        Assert.Equal(expected, CodingKernel.Supported().Select(kernel => kernel.Name));
        Assert.Subset(AllKernels.ToHashSet(), expected.ToHashSet());
        Assert.Equal(expected[0], CodingKernel.Best.Name);
    }

    [Fact]
    public void Multiply_OfEveryPairOfElements_MatchesPlainFieldArithmetic()
    {
        for (int a = 0; a < 256; a++)
        {
            for (int b = 0; b < 256; b++)
                Assert.Equal(PlainField.Multiply((byte)a, (byte)b), GaloisField.Multiply((byte)a, (byte)b));
        }
    }

    [Theory]
    [MemberData(nameof(Kernels))]
    public unsafe void Kernel_WithEveryCoefficientAndEveryByte_MatchesPlainFieldArithmetic(string kernelName)
    {
        CodingKernel kernel = Kernel(kernelName);
        using GuardedShards buffers = new(2, 256);
        for (int value = 0; value < 256; value++)
            buffers[0][value] = (byte)value;
        byte* input = (byte*)buffers.Pointers[0], output = (byte*)buffers.Pointers[1];
        for (int coefficient = 0; coefficient < 256; coefficient++)
        {
            kernel.Multiply(kernel.Prepare([(byte)coefficient], 1, 1), &input, &output, 256);
            for (int value = 0; value < 256; value++)
                Assert.Equal(PlainField.Multiply((byte)coefficient, (byte)value), buffers[1][value]);
        }

        buffers.AssertGuards(kernelName);
    }

    /// <summary>The shapes reach every group of rows (1 to 4, and several groups), the lengths every kind of tail and more than one piece.</summary>
    [Theory]
    [MemberData(nameof(Kernels))]
    public unsafe void Kernel_OfAnyShapeAndLength_MatchesTheScalarOneAndHarmsNothingAround(string kernelName)
    {
        CodingKernel kernel = Kernel(kernelName), scalar = new ScalarKernel();
        Random random = new(11);
        int[] lengths = [.. Enumerable.Range(0, 70), 95, 127, 128, 129, 191, 255, 256, 257, 300, 511, 512, 513, 767, 1000, 4096 + 63, (16 * 1024) + 1, (32 * 1024) - 1, 32 * 1024, (48 * 1024) + 17];
        foreach ((int inputs, int outputs) in new[] { (1, 1), (2, 1), (3, 2), (6, 3), (5, 4), (4, 5), (3, 6), (2, 7), (9, 8), (3, 13) })
        {
            var coefficients = new byte[inputs * outputs];
            random.NextBytes(coefficients);
            CoefficientRows rows = kernel.Prepare(coefficients, inputs, outputs), scalarRows = scalar.Prepare(coefficients, inputs, outputs);
            foreach (int length in lengths)
            {
                using GuardedShards actual = new(inputs + outputs, length), expected = new(inputs + outputs, length);
                for (int i = 0; i < inputs; i++)
                {
                    random.NextBytes(actual[i]);
                    actual[i].CopyTo(expected[i]);
                }

                actual.Spoil(Range(inputs, outputs));
                fixed (nint* shards = actual.Pointers)
                    kernel.Multiply(rows, (byte**)shards, (byte**)shards + inputs, length);
                fixed (nint* shards = expected.Pointers)
                    scalar.Multiply(scalarRows, (byte**)shards, (byte**)shards + inputs, length);
                actual.AssertShards([.. Enumerable.Range(0, inputs + outputs).Select(i => expected[i].ToArray())], $"{kernelName}, {inputs} to {outputs}, {length} bytes");
            }
        }
    }

    /// <summary>Guard bytes show writes; only a page that cannot be read shows reads.</summary>
    [Theory]
    [MemberData(nameof(Kernels))]
    public unsafe void Kernel_AtTheEdgeOfMappedMemory_ReadsNothingBeyondTheBuffer(string kernelName)
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "Maps memory by Linux' numbers.");
        CodingKernel kernel = Kernel(kernelName);
        CoefficientRows rows = kernel.Prepare([3, 7, 9, 11], 2, 2);
        using FencedMemory first = new(), second = new();
        byte** inputs = stackalloc byte*[2], outputs = stackalloc byte*[2];
        byte* written = stackalloc byte[2 * FencedMemory.LengthBytes];
        foreach (int length in new[] { 1, 63, 64, 100, 256, 300, 1000, 4096 })
        {
            // At either edge of the readable page.
            foreach (int offset in new[] { 0, FencedMemory.LengthBytes - length })
            {
                inputs[0] = first.Address + offset;
                inputs[1] = second.Address + offset;
                outputs[0] = written;
                outputs[1] = written + length;
                kernel.Multiply(rows, inputs, outputs, length);
                Assert.Equal(PlainField.Multiply(9, inputs[0][length - 1]) ^ PlainField.Multiply(11, inputs[1][length - 1]), outputs[1][length - 1]);
            }
        }
    }

    /// <summary>
    /// Every set of at most m lost shards, data and parity, is made again out of what is left; and for every set of exactly k left, the plain solver finds the data too,
    /// so that any k shards suffice by the definition and not only by the product's own inversion.
    /// </summary>
    [Theory]
    [MemberData(nameof(KernelsAndSchemes))]
    public void Reconstruct_OfEveryPatternOfLoss_GivesBackEveryShard(string kernelName, int k, int m)
    {
        Scheme scheme = new(k, m);
        // Longer than the widest kernel's block, by a tail.
        const int LengthBytes = 256 + 35;
        ReedSolomon code = new(scheme, Kernel(kernelName));
        byte[][] expected = PlainField.Encode(RandomData(k, LengthBytes, seed: (k * 100) + m), m);
        using GuardedShards shards = Encoded(code, expected);
        int patterns = 0;
        for (ulong lost = 1; lost <= ShardSet.All(k + m).Bits; lost++)
        {
            ShardSet set = new(lost);
            if (set.Count > m)
                continue;
            patterns++;
            AssertReconstructs(code, shards, expected, set);
            if (set.Count == m && kernelName == "scalar")
                AssertPlainSolverAgrees(expected, k, m, set);
        }

        Assert.Equal(Enumerable.Range(1, m).Sum(count => Choose(k + m, count)), patterns);
    }

    [Theory]
    [MemberData(nameof(Kernels))]
    public void Reconstruct_OfSampledPatternsOf17And3_GivesBackEveryShard(string kernelName)
    {
        int seed = Environment.TickCount;
        TestContext.Current.TestOutputHelper?.WriteLine($"seed {seed}");
        Random random = new(seed);
        ReedSolomon code = new(new Scheme(17, 3), Kernel(kernelName));
        byte[][] expected = PlainField.Encode(RandomData(17, 333, seed), 3);
        using GuardedShards shards = Encoded(code, expected);
        for (int sample = 0; sample < 150; sample++)
        {
            ShardSet lost = RandomSet(random, 20, random.Next(1, 4));
            AssertReconstructs(code, shards, expected, lost, $"seed {seed}, ");
            if (lost.Count == 3 && sample < 20)
                AssertPlainSolverAgrees(expected, 17, 3, lost);
        }
    }

    [Fact]
    public void Reconstruct_InSchemesOfAllSizes_GivesBackEveryShard()
    {
        int seed = Environment.TickCount;
        TestContext.Current.TestOutputHelper?.WriteLine($"seed {seed}");
        Random random = new(seed);
        foreach ((int k, int m) in new[] { (1, 1), (1, 2), (1, 63), (2, 1), (2, 62), (3, 5), (5, 1), (7, 6), (16, 16), (32, 32), (48, 16), (60, 4), (63, 1) })
        {
            Scheme scheme = new(k, m);
            ReedSolomon code = ReedSolomon.For(scheme);
            byte[][] expected = PlainField.Encode(RandomData(k, 517, seed), m);
            using GuardedShards shards = Encoded(code, expected);
            for (int sample = 0; sample < 10; sample++)
                AssertReconstructs(code, shards, expected, RandomSet(random, k + m, random.Next(1, m + 1)), $"seed {seed}, ");
            AssertReconstructs(code, shards, expected, Range(0, Math.Min(m, k)), $"seed {seed}, ");
        }
    }

    [Fact]
    public void Encode_OfLongShards_MatchesPlainFieldArithmetic()
    {
        foreach ((int k, int m) in new[] { (6, 3), (4, 6) })
        {
            byte[][] expected = PlainField.Encode(RandomData(k, 70_001, seed: 5), m);
            foreach (CodingKernel kernel in CodingKernel.Supported())
                Encoded(new ReedSolomon(new Scheme(k, m), kernel), expected).Dispose();
        }
    }

    [Fact]
    public void Reconstruct_OfSomeOfTheLostShards_LeavesTheOthersAlone()
    {
        ReedSolomon code = ReedSolomon.For(new Scheme(6, 3));
        byte[][] expected = PlainField.Encode(RandomData(6, 400, seed: 1), 3);
        using GuardedShards shards = Encoded(code, expected);
        ShardSet lost = new ShardSet().With(0).With(4).With(7), wanted = new ShardSet().With(4);
        shards.Spoil(lost);
        ShardSet present = Without(ShardSet.All(9), lost);
        code.Reconstruct(present, wanted, shards.Only(new ShardSet(present.Bits | wanted.Bits)), 400);
        Assert.True(shards[4].SequenceEqual(expected[4]));
        Assert.True(shards[0].IndexOfAnyExcept((byte)0xEE) < 0 && shards[7].IndexOfAnyExcept((byte)0xEE) < 0);
    }

    [Fact]
    public void Reconstruct_WithMoreThanEnoughPresent_ReadsOnlyTheFirstOfThem()
    {
        ReedSolomon code = ReedSolomon.For(new Scheme(4, 2));
        byte[][] expected = PlainField.Encode(RandomData(4, 300, seed: 2), 2);
        using GuardedShards shards = Encoded(code, expected);
        shards.Spoil(new ShardSet().With(1).With(5));
        code.Reconstruct(Without(ShardSet.All(6), new ShardSet().With(1)), new ShardSet().With(1), shards.Pointers, 300);
        Assert.True(shards[1].SequenceEqual(expected[1]));
    }

    [Fact]
    public void Copies_AreTheDataThemselves()
    {
        ReedSolomon code = ReedSolomon.For(Scheme.Copies(3));
        byte[] data = RandomData(1, 777, seed: 3)[0];
        using GuardedShards shards = Encoded(code, [data, data, data]);
        shards.Spoil(new ShardSet().With(0).With(1));
        code.Reconstruct(new ShardSet().With(2), new ShardSet().With(0).With(1), shards.Pointers, 777);
        shards.AssertShards([data, data, data], "copies");
    }

    [Fact]
    public void SingleCopy_HasNothingToEncodeAndIsAlwaysVerified()
    {
        ReedSolomon code = ReedSolomon.For(Scheme.SingleCopy);
        using GuardedShards shards = new(1, 100);
        code.Encode(shards.Pointers, [], 100);
        Assert.True(code.Verify(shards.Pointers, 100));
    }

    /// <summary>These bytes are on drives: a change of the field or of the matrix makes them unreadable.</summary>
    [Fact]
    public void Matrix_IsTheOneOnDrives()
    {
        Assert.Equal("01010101010101E197AC52C801A6C4EE5392", Convert.ToHexString(CodingMatrix.ParityRows(new Scheme(6, 3))));
        Assert.Equal(
            "0101010101010101010101938A495DA1673A63B201679C977BBBA6AFF453013ACB3C3033AF34101E",
            Convert.ToHexString(CodingMatrix.ParityRows(new Scheme(10, 4))));
        Assert.Equal(
            "0101010101010101010101010101010101013EDA1B0623388A7973E1255DB24A82C501DDBBDA318BD5223E5B12CF5F945AC1A8",
            Convert.ToHexString(CodingMatrix.ParityRows(new Scheme(17, 3))));
        Assert.Equal("0101010101010101", Convert.ToHexString(CodingMatrix.ParityRows(new Scheme(8, 1))));
        Assert.Equal("010101", Convert.ToHexString(CodingMatrix.ParityRows(new Scheme(1, 3))));
    }

    [Fact]
    public void Verify_FindsAChangedByteAnywhere()
    {
        // More than one of the pieces in which Verify works, and a tail.
        const int LengthBytes = 4096 + 511;
        foreach (Scheme scheme in new[] { new Scheme(6, 3), Scheme.Copies(3) })
        {
            ReedSolomon code = ReedSolomon.For(scheme);
            using GuardedShards shards = Encoded(code, PlainField.Encode(RandomData(scheme.DataShards, LengthBytes, seed: 4), scheme.ParityShards));
            Assert.True(code.Verify(shards.Pointers, LengthBytes));
            for (int shard = 0; shard < scheme.Width; shard++)
            {
                foreach (int offset in new[] { 0, 63, 64, 4095, 4096, LengthBytes - 1 })
                {
                    shards[shard][offset] ^= 0x10;
                    Assert.False(code.Verify(shards.Pointers, LengthBytes), $"{scheme}: shard {shard}, byte {offset}");
                    shards[shard][offset] ^= 0x10;
                }
            }

            Assert.True(code.Verify(shards.Pointers, LengthBytes));
        }
    }

    [Fact]
    public void ZeroLength_TouchesNothing()
    {
        ReedSolomon code = ReedSolomon.For(new Scheme(6, 3));
        using GuardedShards shards = new(9, 0);
        code.Encode(shards.Pointers.AsSpan(0, 6), shards.Pointers.AsSpan(6), 0);
        code.Reconstruct(Range(3, 6), Range(0, 3), shards.Pointers, 0);
        Assert.True(code.Verify(shards.Pointers, 0));
        shards.AssertGuards("zero length");
    }

    [Fact]
    public void Calls_ThatCannotBe_AreRefused()
    {
        ReedSolomon code = ReedSolomon.For(new Scheme(4, 2));
        using GuardedShards shards = new(6, 64);
        nint[] all = shards.Pointers;
        Assert.Throws<ArgumentException>(() => code.Encode(all.AsSpan(0, 3), all.AsSpan(4), 64));
        Assert.Throws<ArgumentException>(() => code.Encode(all.AsSpan(0, 4), all.AsSpan(5), 64));
        Assert.Throws<ArgumentException>(() => code.Encode([all[0], 0, all[2], all[3]], all.AsSpan(4), 64));
        Assert.Throws<ArgumentOutOfRangeException>(() => code.Encode(all.AsSpan(0, 4), all.AsSpan(4), -1));
        Assert.Throws<ArgumentException>(() => code.Reconstruct(Range(0, 3), Range(5, 1), all, 64));
        Assert.Throws<ArgumentException>(() => code.Reconstruct(Range(0, 5), Range(4, 1), all, 64));
        Assert.Throws<ArgumentException>(() => code.Reconstruct(Range(0, 5), Range(6, 1), all, 64));
        Assert.Throws<ArgumentException>(() => code.Reconstruct(Range(0, 4), Range(4, 1), shards.Only(Range(0, 4)), 64));
        Assert.Throws<ArgumentException>(() => code.Reconstruct(Range(0, 4), Range(4, 1), all.AsSpan(0, 5), 64));
        Assert.Throws<ArgumentException>(() => code.Verify(all.AsSpan(0, 5), 64));
        shards.AssertGuards("refused");
    }

    [Fact]
    public void For_GivesTheSameCodeEveryTime()
        => Assert.Same(ReedSolomon.For(new Scheme(6, 3)), ReedSolomon.For(new Scheme(6, 3)));

    [Fact]
    public void Reconstructions_KeptForReuse_AreBounded()
    {
        // 10+4 has more patterns of loss than are kept.
        ReedSolomon code = new(new Scheme(10, 4), new ScalarKernel());
        byte[][] expected = PlainField.Encode(RandomData(10, 1, seed: 6), 4);
        using GuardedShards shards = Encoded(code, expected);
        int most = 0;
        for (ulong lost = 1; lost <= ShardSet.All(14).Bits; lost++)
        {
            if (new ShardSet(lost).Count > 4)
                continue;
            AssertReconstructs(code, shards, expected, new ShardSet(lost));
            most = Math.Max(most, code.CachedReconstructions);
        }

        Assert.Equal(ReedSolomon.CachedPatterns, most);
    }

    [Fact]
    public void Reconstruct_OnManyThreadsAtOnce_GivesEachItsShards()
    {
        ReedSolomon code = new(new Scheme(6, 3), CodingKernel.Best);
        byte[][] expected = PlainField.Encode(RandomData(6, 300, seed: 7), 3);
        Parallel.For(0, 8, worker =>
        {
            Random random = new(worker);
            using GuardedShards shards = new(9, 300);
            shards.Fill(expected);
            for (int i = 0; i < 200; i++)
                AssertReconstructs(code, shards, expected, RandomSet(random, 9, random.Next(1, 4)));
        });
    }

    private static CodingKernel Kernel(string name) => CodingKernel.Supported().Single(kernel => kernel.Name == name);

    private static GuardedShards Encoded(ReedSolomon code, byte[][] expected)
    {
        int k = code.Scheme.DataShards, length = expected[0].Length;
        GuardedShards shards = new(code.Scheme.Width, length);
        shards.Fill(expected[..k]);
        shards.Spoil(Range(k, code.Scheme.ParityShards));
        code.Encode(shards.Pointers.AsSpan(0, k), shards.Pointers.AsSpan(k), length);
        shards.AssertShards(expected, $"{code.Scheme}");
        return shards;
    }

    private static void AssertReconstructs(ReedSolomon code, GuardedShards shards, byte[][] expected, ShardSet lost, string note = "")
    {
        shards.Spoil(lost);
        code.Reconstruct(Without(ShardSet.All(code.Scheme.Width), lost), lost, shards.Pointers, shards.LengthBytes);
        shards.AssertShards(expected, $"{note}{code.Scheme} without {lost}");
    }

    private static void AssertPlainSolverAgrees(byte[][] expected, int k, int m, ShardSet lost)
    {
        // One byte of each shard is enough for the equations; the solver is slow.
        byte[][] firstBytes = [.. expected.Select(shard => shard[..1])];
        int[] present = [.. Enumerable.Range(0, k + m).Where(shard => !lost.Contains(shard)).Take(k)];
        byte[][]? solved = PlainField.Solve(k, m, present, firstBytes);
        Assert.NotNull(solved);
        Assert.Equal(firstBytes.Take(k).Select(shard => shard[0]), solved.Select(shard => shard[0]));
    }

    private static byte[][] RandomData(int k, int lengthBytes, int seed)
    {
        Random random = new(seed);
        var data = new byte[k][];
        for (int i = 0; i < k; i++)
            random.NextBytes(data[i] = new byte[lengthBytes]);
        return data;
    }

    private static ShardSet RandomSet(Random random, int width, int count)
    {
        ShardSet set = default;
        while (set.Count < count)
            set = set.With(random.Next(width));
        return set;
    }

    private static ShardSet Range(int first, int count) => new(ShardSet.All(count).Bits << first);

    private static ShardSet Without(ShardSet set, ShardSet others) => new(set.Bits & ~others.Bits);

    private static int Choose(int n, int k) => k == 0 ? 1 : Choose(n, k - 1) * (n - k + 1) / k;
}
