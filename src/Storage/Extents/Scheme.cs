using System.Globalization;
using System.Numerics;

namespace ObjectStore.Storage.Extents;

/// <summary>
/// How a block becomes fragments: k data shards and m parity shards, any k of which give the block back. Copies are the case k = 1: every shard is the block
/// itself. The id stored in metadata and in every record is k × 256 + m, so that no table is needed to read what was written; 0 is read as one copy.
/// </summary>
public readonly record struct Scheme
{
    public const int MaxShards = 64;

    /// <summary>A shard's length is a multiple of this, for the vector kernels.</summary>
    public const int ShardAlignmentBytes = 64;

    public Scheme(int dataShards, int parityShards)
    {
        if (dataShards < 1 || parityShards < 0 || dataShards + parityShards > MaxShards || (dataShards > 1 && parityShards == 0))
            throw new ArgumentException($"A scheme of {dataShards} + {parityShards} shards cannot be: 1 or more data shards, parity with more than one of them, at most {MaxShards} in all.");
        (DataShards, ParityShards) = (dataShards, parityShards);
    }

    public static Scheme SingleCopy { get; } = new(1, 0);

    public int DataShards { get; }

    public int ParityShards { get; }

    /// <summary>Fragments of a block, each on a drive of its own.</summary>
    public int Width => DataShards + ParityShards;

    public bool IsReplicated => DataShards == 1;

    public ushort Id => (ushort)((DataShards << 8) | ParityShards);

    /// <summary>Durable fragments of every block that an acknowledged write has at least: k + 1; of copies more than half of them.</summary>
    public int WriteQuorum => IsReplicated ? (Width / 2) + 1 : DataShards + 1;

    public static Scheme Copies(int copies) => new(1, copies - 1);

    public static bool TryFromId(int id, out Scheme scheme)
    {
        int data = id == 0 ? 1 : id >> 8, parity = id & 0xFF;
        bool valid = id is >= 0 and <= ushort.MaxValue && data >= 1 && data + parity <= MaxShards && (data == 1 || parity > 0);
        scheme = valid ? new Scheme(data, parity) : SingleCopy;
        return valid;
    }

    /// <summary>
    /// Bytes of each shard of a block of <paramref name="blockLengthBytes"/>: the k-th part rounded up to 64 bytes; shard i holds the bytes from i times that, padded with
    /// zeros. A copy has the block's own length.
    /// </summary>
    public int ShardBytes(int blockLengthBytes)
    {
        if (DataShards == 1)
            return blockLengthBytes;
        int part = (blockLengthBytes + DataShards - 1) / DataShards;
        return Math.Max(ShardAlignmentBytes, (part + ShardAlignmentBytes - 1) / ShardAlignmentBytes * ShardAlignmentBytes);
    }

    /// <summary>
    /// The scheme that takes this one's place on fewer drives: the losses it survives are kept as long as a drive is left for data; below that, a copy on every drive.
    /// So 6+3 becomes 5+3 on 8 drives, 1+3 (four copies) on 4, three copies on 3 and one copy on one.
    /// </summary>
    public Scheme Narrow(int drives)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(drives, 1);
        if (drives >= Width)
            return this;
        return drives > ParityShards ? new Scheme(drives - ParityShards, ParityShards) : Copies(drives);
    }

    public override string ToString()
        => DataShards > 1 ? string.Create(CultureInfo.InvariantCulture, $"{DataShards}+{ParityShards}") : Width == 1 ? "1 copy" : string.Create(CultureInfo.InvariantCulture, $"{Width} copies");
}

/// <summary>A set of shard numbers, 0 to 63.</summary>
public readonly record struct ShardSet(ulong Bits)
{
    public int Count => BitOperations.PopCount(Bits);

    public bool IsEmpty => Bits == 0;

    public bool Contains(int shard) => (Bits >> shard & 1) != 0;

    public ShardSet With(int shard) => new(Bits | 1UL << shard);

    public ShardSet Without(int shard) => new(Bits & ~(1UL << shard));

    public static ShardSet All(int width) => new(width == 64 ? ulong.MaxValue : (1UL << width) - 1);

    /// <summary>Ascending.</summary>
    public Enumerator GetEnumerator() => new(Bits);

    public override string ToString()
    {
        List<int> shards = [];
        foreach (int shard in this)
            shards.Add(shard);
        return string.Join(',', shards);
    }

    public ref struct Enumerator(ulong bits)
    {
        private ulong _left = bits;

        public int Current { get; private set; } = -1;

        public bool MoveNext()
        {
            if (_left == 0)
                return false;
            Current = BitOperations.TrailingZeroCount(_left);
            _left &= _left - 1;
            return true;
        }
    }
}
