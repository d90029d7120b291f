using System.Buffers;
using System.Collections.Concurrent;
using ObjectStore.Storage.Extents;

namespace ObjectStore.Storage.ErasureCoding;

/// <summary>
/// The erasure code of a scheme: m parity shards out of k data shards, and any m lost shards out of any k others. A systematic Reed–Solomon code over GF(2^8);
/// its matrix, which is part of the on-disk format, is in <see cref="CodingMatrix"/>. With k = 1 the parity shards are copies.
///
/// Shards are given as pointers, which need no alignment, to buffers that the caller owns and keeps in place during the call; no two may overlap. Every length will do.
/// Nothing outside the named bytes is read or written. Immutable but for a cache, and safe for any number of threads.
/// </summary>
public sealed unsafe class ReedSolomon
{
    /// <summary>
    /// Patterns of loss whose inverted coefficients are kept. In practice a handful of drives is lost at a time; the bound is for the tests and the worst of days. When it is
    /// reached all are forgotten: making one anew costs microseconds.
    /// </summary>
    internal const int CachedPatterns = 1024;

    // At most one entry per valid scheme, of which there are about two thousand.
    private static readonly ConcurrentDictionary<Scheme, ReedSolomon> Codes = new();

    private readonly CodingKernel _kernel;
    private readonly byte[] _parityRows;
    private readonly CoefficientRows _encoding;
    private readonly ConcurrentDictionary<(ulong Sources, ulong Wanted), CoefficientRows> _reconstructions = new();

    internal ReedSolomon(Scheme scheme, CodingKernel kernel)
    {
        Scheme = scheme;
        _kernel = kernel;
        _parityRows = CodingMatrix.ParityRows(scheme);
        _encoding = kernel.Prepare(_parityRows, scheme.DataShards, scheme.ParityShards);
    }

    public Scheme Scheme { get; }

    internal int CachedReconstructions => _reconstructions.Count;

    /// <summary>The code of a scheme on the fastest kernel of this processor; the same instance every time.</summary>
    public static ReedSolomon For(Scheme scheme) => Codes.GetOrAdd(scheme, static scheme => new ReedSolomon(scheme, CodingKernel.Best));

    /// <summary>Writes the m parity shards of k data shards.</summary>
    /// <exception cref="ArgumentException">Too few or too many pointers, one that is 0, or a negative length.</exception>
    public void Encode(ReadOnlySpan<nint> data, ReadOnlySpan<nint> parity, int lengthBytes)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(lengthBytes);
        if (data.Length != Scheme.DataShards || parity.Length != Scheme.ParityShards)
            throw new ArgumentException($"{Scheme} takes {Scheme.DataShards} data and {Scheme.ParityShards} parity shards, not {data.Length} and {parity.Length}.");
        if (data.Contains(0) || parity.Contains(0))
            throw new ArgumentException("A shard has no buffer.");
        Multiply(_encoding, data, parity, lengthBytes);
    }

    /// <summary>Writes the wanted shards, data or parity, out of the first k of those that are present.</summary>
    /// <param name="present">The shards that hold what was encoded; at least k of them. Any beyond the first k are not read.</param>
    /// <param name="wanted">The shards to write; none of those present.</param>
    /// <param name="shards">A pointer for each of the k + m shards; 0 for those neither read nor wanted.</param>
    /// <param name="lengthBytes">Of each shard.</param>
    /// <exception cref="ArgumentException">Fewer than k shards are present, a shard is both present and wanted or not of this scheme, a pointer that is needed is 0, or the length is negative.</exception>
    public void Reconstruct(ShardSet present, ShardSet wanted, ReadOnlySpan<nint> shards, int lengthBytes)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(lengthBytes);
        int k = Scheme.DataShards;
        if (shards.Length != Scheme.Width)
            throw new ArgumentException($"{Scheme} has {Scheme.Width} shards, not {shards.Length}.", nameof(shards));
        if (((present.Bits | wanted.Bits) & ~ShardSet.All(Scheme.Width).Bits) != 0)
            throw new ArgumentException($"{Scheme} has no shard beyond {Scheme.Width - 1}.");
        if ((present.Bits & wanted.Bits) != 0)
            throw new ArgumentException($"Shards {new ShardSet(present.Bits & wanted.Bits)} are both present and wanted.");
        if (present.Count < k)
            throw new ArgumentException($"{Scheme} needs {k} shards; {present.Count} are present.", nameof(present));

        Span<nint> inputs = stackalloc nint[Scheme.MaxShards];
        Span<nint> outputs = stackalloc nint[Scheme.MaxShards];
        ShardSet sources = default;
        int inputCount = 0;
        foreach (int shard in present)
        {
            sources = sources.With(shard);
            inputs[inputCount++] = shards[shard];
            if (inputCount == k)
                break;
        }

        int outputCount = 0;
        foreach (int shard in wanted)
            outputs[outputCount++] = shards[shard];
        inputs = inputs[..inputCount];
        outputs = outputs[..outputCount];
        if (inputs.Contains(0) || outputs.Contains(0))
            throw new ArgumentException("A shard that is present or wanted has no buffer.", nameof(shards));
        if (!wanted.IsEmpty)
            Multiply(ReconstructionRows(sources, wanted), inputs, outputs, lengthBytes);
    }

    /// <summary>Whether the parity shards are those of the data shards. It does not tell which shard is wrong.</summary>
    /// <param name="shards">A pointer for each of the k + m shards.</param>
    /// <param name="lengthBytes">Of each shard.</param>
    /// <exception cref="ArgumentException">Too few or too many pointers, one that is 0, or a negative length.</exception>
    public bool Verify(ReadOnlySpan<nint> shards, int lengthBytes)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(lengthBytes);
        int k = Scheme.DataShards, m = Scheme.ParityShards;
        if (shards.Length != Scheme.Width)
            throw new ArgumentException($"{Scheme} has {Scheme.Width} shards, not {shards.Length}.", nameof(shards));
        if (shards.Contains(0))
            throw new ArgumentException("A shard has no buffer.", nameof(shards));
        if (m == 0 || lengthBytes == 0)
            return true;

        // The parity is made anew piece by piece, small enough to be compared while it is still in the cache.
        const int PieceBytes = 4096;
        byte[] scratch = ArrayPool<byte>.Shared.Rent(m * PieceBytes);
        try
        {
            fixed (byte* expected = scratch)
            {
                Span<nint> data = stackalloc nint[k];
                Span<nint> parity = stackalloc nint[m];
                for (int i = 0; i < m; i++)
                    parity[i] = (nint)(expected + (i * PieceBytes));
                for (int offset = 0, length; offset < lengthBytes; offset += length)
                {
                    length = Math.Min(PieceBytes, lengthBytes - offset);
                    for (int i = 0; i < k; i++)
                        data[i] = shards[i] + offset;
                    Multiply(_encoding, data, parity, length);
                    for (int i = 0; i < m; i++)
                    {
                        if (!new ReadOnlySpan<byte>((byte*)shards[k + i] + offset, length).SequenceEqual(new ReadOnlySpan<byte>((byte*)parity[i], length)))
                            return false;
                    }
                }
            }
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(scratch);
        }

        return true;
    }

    private CoefficientRows ReconstructionRows(ShardSet sources, ShardSet wanted)
    {
        if (_reconstructions.TryGetValue((sources.Bits, wanted.Bits), out CoefficientRows? rows))
            return rows;
        rows = _kernel.Prepare(CodingMatrix.ReconstructionRows(Scheme, _parityRows, sources, wanted), Scheme.DataShards, wanted.Count);
        if (_reconstructions.Count >= CachedPatterns)
            _reconstructions.Clear();
        _reconstructions[(sources.Bits, wanted.Bits)] = rows;
        return rows;
    }

    private void Multiply(CoefficientRows rows, ReadOnlySpan<nint> inputs, ReadOnlySpan<nint> outputs, int lengthBytes)
    {
        if (Scheme.IsReplicated)
        {
            foreach (nint output in outputs)
                Buffer.MemoryCopy((void*)inputs[0], (void*)output, lengthBytes, lengthBytes);
            return;
        }

        fixed (nint* input = inputs, output = outputs)
            _kernel.Multiply(rows, (byte**)input, (byte**)output, lengthBytes);
    }
}
