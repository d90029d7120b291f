using ObjectStore.Storage.Compaction;
using ObjectStore.Storage.Drives;
using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Fragments;

namespace ObjectStore.Storage.Transport;

/// <summary>What a node says of itself. <paramref name="Instance"/> is new with every start of the process.</summary>
internal sealed record NodeHello(ulong Instance, Guid ClusterId, string NodeId, string Host, IReadOnlyList<Guid> Drives);

/// <summary>The records of the data plane in frames. Readers check all that the contract asks of a value; what passes can be handed to a drive.</summary>
internal static class FragmentCodec
{
    private const int TicketBytes = 24;
    private const int EntryBytes = FragmentKey.SizeBytes + 10;
    private const int VolumeBytes = 16;
    private const long MaxVolumeBytes = 1L << 47;

    public static void WriteHello(FrameWriter frame, NodeHello hello)
    {
        frame.Guid(hello.ClusterId);
        frame.Text(hello.NodeId);
        frame.Text(hello.Host);
        frame.Int32(hello.Drives.Count);
        foreach (Guid drive in hello.Drives)
            frame.Guid(drive);
    }

    public static NodeHello ReadHello(ReadOnlySpan<byte> body, ulong instance)
    {
        FrameReader reader = new(body);
        Guid cluster = reader.Guid();
        string node = reader.Text(), host = reader.Text();
        var drives = new Guid[reader.Count(FragmentProtocol.MaxDrives, 16)];
        foreach (ref Guid drive in drives.AsSpan())
            drive = reader.Guid();
        reader.RequireEnd();
        return new NodeHello(instance, cluster, node, host, drives);
    }

    /// <summary>All of a fragment but its payload, whose length follows from scheme and block length.</summary>
    public static void WriteFragment(FrameWriter frame, in FragmentWrite fragment)
    {
        WriteDescriptor(frame, fragment.Descriptor);
        frame.UInt16(fragment.Scheme.Id);
        frame.Int32(fragment.BlockSizeBytes);
        frame.Int32(fragment.Block);
        frame.Int32(fragment.BlockLengthBytes);
        frame.UInt16((ushort)fragment.Shard);
        frame.UInt16((ushort)fragment.ChunkChecksums.Length);
        foreach (ulong checksum in fragment.ChunkChecksums.Span)
            frame.UInt64(checksum);
    }

    /// <param name="payloadBytes">What the payload must have.</param>
    public static FragmentWrite ReadFragment(ref FrameReader reader, out int payloadBytes)
    {
        ExtentDescriptor descriptor = ReadDescriptor(ref reader);
        Scheme scheme = ReadScheme(reader.UInt16());
        int blockSize = reader.Int32(), block = reader.Int32(), blockLength = reader.Int32();
        int shard = reader.UInt16(), chunks = reader.UInt16();
        if (blockSize is < 0 or > FragmentProtocol.MaxBlockBytes || blockLength < 0 || blockLength > blockSize || block < 0
            || shard >= Scheme.MaxShards || descriptor.PlacementGroup < 0)
        {
            throw new FrameException("The fragment's place cannot be.");
        }

        payloadBytes = scheme.ShardBytes(blockLength);
        if (payloadBytes > FragmentProtocol.MaxPayloadBytes || chunks != FragmentProtocol.ChunksOf(payloadBytes))
            throw new FrameException("The fragment's length cannot be.");
        var checksums = new ulong[chunks];
        foreach (ref ulong checksum in checksums.AsSpan())
            checksum = reader.UInt64();
        return new FragmentWrite(descriptor, scheme, blockSize, block, blockLength, shard, default, checksums);
    }

    public static void WriteTicket(FrameWriter frame, FragmentTicket ticket)
    {
        frame.Int64(ticket.VolumeId);
        frame.UInt64(ticket.Generation);
        frame.Int64(ticket.EndOffset);
    }

    public static FragmentTicket ReadTicket(ref FrameReader reader) => new(reader.Int64(), reader.UInt64(), reader.Int64());

    public static FragmentTicket[] ReadTickets(ref FrameReader reader)
    {
        var tickets = new FragmentTicket[reader.Count(FragmentProtocol.MaxTicketsPerSync, TicketBytes)];
        foreach (ref FragmentTicket ticket in tickets.AsSpan())
            ticket = ReadTicket(ref reader);
        return tickets;
    }

    public static void WriteKey(FrameWriter frame, FragmentKey key) => key.WriteTo(frame.Take(FragmentKey.SizeBytes));

    public static FragmentKey ReadKey(ref FrameReader reader)
    {
        FragmentKey key = FragmentKey.ReadFrom(reader.Take(FragmentKey.SizeBytes));
        return key.Block >= 0 ? key : throw new FrameException("A fragment's block cannot be.");
    }

    public static FragmentKey[] ReadKeys(ref FrameReader reader)
    {
        var keys = new FragmentKey[reader.Count(FragmentProtocol.MaxKeysPerDelete, FragmentKey.SizeBytes)];
        foreach (ref FragmentKey key in keys.AsSpan())
            key = ReadKey(ref reader);
        return keys;
    }

    public static void WriteRead(FrameWriter frame, FragmentAddress address, int offsetBytes, int lengthBytes)
    {
        WriteKey(frame, address.Key);
        frame.Int32(address.PlacementGroup);
        frame.UInt16(address.Scheme.Id);
        frame.Int32(address.PayloadBytes);
        frame.Int32(offsetBytes);
        frame.Int32(lengthBytes);
    }

    public static (FragmentAddress Address, int OffsetBytes, int LengthBytes) ReadRead(ref FrameReader reader)
    {
        FragmentKey key = ReadKey(ref reader);
        int group = reader.Int32();
        Scheme scheme = ReadScheme(reader.UInt16());
        int payload = reader.Int32(), offset = reader.Int32(), length = reader.Int32();
        if (payload is < 0 or > FragmentProtocol.MaxPayloadBytes || !IsReadable(payload, offset, length))
            throw new FrameException("The range cannot be.");
        return (new FragmentAddress(key, group, scheme, payload), offset, length);
    }

    /// <summary>Whether the range is one of whole chunks of such a payload.</summary>
    public static bool IsReadable(int payloadBytes, int offsetBytes, int lengthBytes)
        => offsetBytes >= 0 && lengthBytes >= 0 && lengthBytes <= payloadBytes && offsetBytes <= payloadBytes - lengthBytes && offsetBytes % FragmentProtocol.ChunkBytes == 0
            && (lengthBytes % FragmentProtocol.ChunkBytes == 0 || offsetBytes + lengthBytes == payloadBytes);

    public static void WriteDetails(FrameWriter frame, FragmentDetails? details)
    {
        frame.Byte(details is null ? (byte)0 : (byte)1);
        if (details is null)
            return;
        WriteKey(frame, details.Key);
        WriteDescriptor(frame, details.Descriptor);
        frame.UInt16(details.Scheme.Id);
        frame.Int32(details.BlockSizeBytes);
        frame.Int32(details.BlockLengthBytes);
        frame.Int32(details.PayloadBytes);
        frame.Int64(details.Created.ToUnixTimeMilliseconds());
    }

    public static FragmentDetails? ReadDetails(ReadOnlySpan<byte> body)
    {
        FrameReader reader = new(body);
        FragmentDetails? details = null;
        if (reader.Byte() != 0)
        {
            FragmentKey key = ReadKey(ref reader);
            ExtentDescriptor descriptor = ReadDescriptor(ref reader);
            Scheme scheme = ReadScheme(reader.UInt16());
            int blockSize = reader.Int32(), blockLength = reader.Int32(), payload = reader.Int32();
            if (blockSize is < 0 or > FragmentProtocol.MaxBlockBytes || blockLength is < 0 or > FragmentProtocol.MaxBlockBytes || payload is < 0 or > FragmentProtocol.MaxPayloadBytes)
                throw new FrameException("The fragment's length cannot be.");

            details = new FragmentDetails(key, descriptor, scheme, blockSize, blockLength, payload, ReadTime(ref reader));
        }

        reader.RequireEnd();
        return details;
    }

    public static void WriteListing(FrameWriter frame, IReadOnlySet<int>? groups, FragmentKey? after, int maxEntries)
    {
        frame.Int32(maxEntries);
        frame.Byte((byte)((groups is null ? 0 : 1) | (after is null ? 0 : 2)));
        if (after is { } last)
            WriteKey(frame, last);
        if (groups is null)
            return;
        frame.Int32(groups.Count);
        foreach (int group in groups)
            frame.Int32(group);
    }

    public static (IReadOnlySet<int>? Groups, FragmentKey? After, int MaxEntries) ReadListing(ref FrameReader reader)
    {
        int maxEntries = reader.Int32();
        int flags = reader.Byte();
        if (maxEntries is < 1 or > FragmentProtocol.MaxEntriesPerList || flags > 3)
            throw new FrameException("The listing cannot be.");
        FragmentKey? after = (flags & 2) != 0 ? ReadKey(ref reader) : null;
        if ((flags & 1) == 0)
            return (null, after, maxEntries);
        int count = reader.Count(FragmentProtocol.MaxGroupsPerList, sizeof(int));
        HashSet<int> groups = new(count);
        for (int i = 0; i < count; i++)
            groups.Add(reader.Int32());
        return (groups, after, maxEntries);
    }

    public static void WritePage(FrameWriter frame, FragmentPage page)
    {
        frame.Byte(page.Next is null ? (byte)0 : (byte)1);
        if (page.Next is { } next)
            WriteKey(frame, next);
        WriteEntries(frame, page.Entries, 0, page.Entries.Count);
    }

    public static FragmentPage ReadPage(ReadOnlySpan<byte> body)
    {
        FrameReader reader = new(body);
        FragmentKey? next = reader.Byte() != 0 ? ReadKey(ref reader) : null;
        FragmentEntry[] entries = ReadEntries(ref reader);
        reader.RequireEnd();
        return new FragmentPage(entries, next);
    }

    /// <summary>As many as a frame takes.</summary>
    public static void WriteVolumes(FrameWriter frame, IEnumerable<SealedVolume> volumes)
    {
        SealedVolume[] some = [.. volumes.Take(FragmentProtocol.MaxVolumesPerList)];
        frame.Int32(some.Length);
        foreach (SealedVolume volume in some)
        {
            frame.Int64(volume.VolumeId);
            frame.Int64(volume.LengthBytes);
        }
    }

    /// <param name="after">Which volume these are behind: the answer to another question is none.</param>
    public static SealedVolume[] ReadVolumes(ReadOnlySpan<byte> body, long after)
    {
        FrameReader reader = new(body);
        var volumes = new SealedVolume[reader.Count(FragmentProtocol.MaxVolumesPerList, VolumeBytes)];
        foreach (ref SealedVolume volume in volumes.AsSpan())
        {
            volume = new SealedVolume(reader.Int64(), reader.Int64());
            if (volume.VolumeId <= after || volume.LengthBytes is < 0 or > MaxVolumeBytes)
                throw new FrameException("The volumes cannot be.");
            after = volume.VolumeId;
        }

        reader.RequireEnd();
        return volumes;
    }

    public static void WriteQuestion(FrameWriter frame, VerificationQuestion question)
    {
        frame.UInt128(question.Attempt);
        frame.Int64(question.VolumeId);
        frame.Int64(question.BytesPerSecond);
        frame.Int32(question.FirstDamaged);
    }

    public static VerificationQuestion ReadQuestion(ref FrameReader reader)
    {
        VerificationQuestion question = new(reader.UInt128(), reader.Int64(), reader.Int64(), reader.Int32());
        return question is { BytesPerSecond: >= 0, FirstDamaged: >= 0 } ? question : throw new FrameException("The verification cannot be.");
    }

    /// <param name="result">Of one that is done, and only of one.</param>
    /// <param name="firstDamaged">Where the part of the damaged fragments begins that is told.</param>
    public static void WriteVerification(FrameWriter frame, VerificationState state, VolumeVerification? result, int firstDamaged)
    {
        frame.Byte((byte)state);
        if (result is null)
            return;
        int first = Math.Min(firstDamaged, result.Damaged.Count);
        frame.Int64(result.BytesRead);
        frame.Int64(result.Fragments);
        frame.Byte(result.ChecksumMatches switch { false => 0, true => 1, null => 2 });
        frame.Int32(result.Damaged.Count);
        WriteEntries(frame, result.Damaged, first, Math.Min(result.Damaged.Count - first, FragmentProtocol.MaxEntriesPerList));
    }

    /// <summary>The result has the part of the damaged fragments that was told, and beside it is how many there are.</summary>
    public static (VerificationState State, VolumeVerification? Result, int Damaged) ReadVerification(ReadOnlySpan<byte> body, long volumeId)
    {
        FrameReader reader = new(body);
        var state = (VerificationState)reader.Byte();
        if (state > VerificationState.Done)
            throw new FrameException("There is no such state of a verification.");
        VolumeVerification? result = null;
        int damaged = 0;
        if (state == VerificationState.Done)
        {
            long read = reader.Int64(), fragments = reader.Int64();
            byte matches = reader.Byte();
            damaged = reader.Int32();
            result = new VolumeVerification(volumeId, matches switch { 0 => false, 1 => true, _ => null }, read, fragments, ReadEntries(ref reader));
            if (matches > 2 || read < 0 || fragments < 0 || damaged < result.Damaged.Count)
                throw new FrameException("The verification cannot be.");
        }

        reader.RequireEnd();
        return (state, result, damaged);
    }

    public static void WriteStatistics(FrameWriter frame, DriveStatistics statistics)
    {
        frame.Guid(statistics.DriveId);
        frame.Text(statistics.Path);
        frame.Byte((byte)statistics.State);
        frame.Int64(statistics.CapacityBytes);
        frame.Int64(statistics.FreeBytes);
        frame.Int64(statistics.LiveBytes);
        frame.Int64(statistics.GarbageBytes);
        frame.Int64(statistics.LiveFragments);
        frame.Int32(statistics.Volumes);
        frame.Int32(statistics.SealedVolumes);
        frame.Int32(statistics.PoisonedVolumes);
        frame.Int64(statistics.QueuedBytes);
    }

    public static DriveStatistics ReadStatistics(ReadOnlySpan<byte> body)
    {
        FrameReader reader = new(body);
        DriveStatistics statistics = new(
            reader.Guid(), reader.Text(), ReadState(reader.Byte()), reader.Int64(), reader.Int64(), reader.Int64(), reader.Int64(), reader.Int64(), reader.Int32(), reader.Int32(),
            reader.Int32(), reader.Int64());
        reader.RequireEnd();
        return statistics;
    }

    private static void WriteEntries(FrameWriter frame, IReadOnlyList<FragmentEntry> entries, int first, int count)
    {
        frame.Int32(count);
        for (int i = first; i < first + count; i++)
        {
            FragmentEntry entry = entries[i];
            WriteKey(frame, entry.Key);
            frame.Int32(entry.PlacementGroup);
            frame.UInt16(entry.SchemeId);
            frame.Int32(entry.PayloadBytes);
        }
    }

    private static FragmentEntry[] ReadEntries(ref FrameReader reader)
    {
        var entries = new FragmentEntry[reader.Count(FragmentProtocol.MaxEntriesPerList, EntryBytes)];
        foreach (ref FragmentEntry entry in entries.AsSpan())
            entry = new FragmentEntry(ReadKey(ref reader), reader.Int32(), reader.UInt16(), reader.Int32());
        return entries;
    }

    private static void WriteDescriptor(FrameWriter frame, ExtentDescriptor descriptor)
    {
        descriptor.Id.WriteTo(frame.Take(ExtentId.SizeBytes));
        frame.Int32(descriptor.PlacementGroup);
        frame.Int64(descriptor.BucketId);
        frame.UInt128(descriptor.Version);
        frame.UInt16(checked((ushort)descriptor.PartNumber));
        frame.Bytes(descriptor.KeyUtf8.Span);
    }

    private static ExtentDescriptor ReadDescriptor(ref FrameReader reader)
    {
        ExtentId id = ExtentId.ReadFrom(reader.Take(ExtentId.SizeBytes));
        int group = reader.Int32();
        long bucket = reader.Int64();
        UInt128 version = reader.UInt128();
        int part = reader.UInt16();
        return new ExtentDescriptor(id, group, bucket, reader.Bytes(ExtentDescriptor.MaxKeyBytes).ToArray(), version, part);
    }

    private static Scheme ReadScheme(ushort id) => Scheme.TryFromId(id, out Scheme scheme) ? scheme : throw new FrameException("There is no such scheme.");

    private static DriveState ReadState(byte value) => value <= (byte)DriveState.Unavailable ? (DriveState)value : throw new FrameException("There is no such state of a drive.");

    private static DateTimeOffset ReadTime(ref FrameReader reader)
    {
        long milliseconds = reader.Int64();
        return milliseconds is >= 0 and <= 253_402_300_799_999 ? DateTimeOffset.FromUnixTimeMilliseconds(milliseconds) : throw new FrameException("A time cannot be.");
    }
}
