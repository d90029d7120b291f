using System.Buffers;
using ObjectStore.Storage.Compaction;
using ObjectStore.Storage.Drives;
using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Integrity;

namespace ObjectStore.Storage.Transport;

/// <summary>
/// A drive of another node. What a payload's bytes must be is in the signed frames of both directions, so bytes that changed on the way are noticed where they arrive.
/// Every request may be carried out twice (writes of a key have the same bytes, deletes are idempotent), so a lost answer is asked for again.
/// </summary>
internal sealed class RemoteFragmentStore : IFragmentStore, IVolumeVerifier
{
    // The run of the node that made a ticket is kept in the ticket's offset, above any that a volume can have: 2^47 bytes are 128 TiB.
    internal const int OrdinalMask = 0xFFFF;
    private const int OrdinalShift = 47;
    private const int MaxDeletesPerRequest = 1024;
    private static readonly TimeSpan ShortestPause = TimeSpan.FromMilliseconds(50);
    private static readonly TimeSpan LongestPause = TimeSpan.FromSeconds(3);
    private readonly RemoteStorageNode _node;
    private readonly RequestGatherer<FragmentWrite, FragmentTicket> _writes;
    private readonly RequestGatherer<ReadOnlyMemory<FragmentKey>, bool> _deletes;
    private readonly SemaphoreSlim _turns;

    public RemoteFragmentStore(RemoteStorageNode node, Guid driveId)
    {
        (_node, DriveId) = (node, driveId);
        _turns = new SemaphoreSlim(node.Options.MaxRequestsPerDrive);
        _writes = new(FragmentProtocol.MaxBatchFragments, FragmentProtocol.MaxBatchBytes, fragment => fragment.Payload.Length, WriteManyAsync);
        _deletes = new(MaxDeletesPerRequest, FragmentProtocol.MaxKeysPerDelete, keys => keys.Length, DeleteManyAsync);
    }

    public Guid DriveId { get; }

    public bool IsReachable => _node.IsReachable;

    public bool IsLocal => false;

    public async ValueTask<FragmentTicket> WriteAsync(FragmentWrite fragment, bool sync, CancellationToken cancellationToken = default)
    {
        cancellationToken.ThrowIfCancellationRequested();
        Require(fragment);
        return sync && fragment.Payload.Length <= _node.Options.BatchBelowBytes
            ? await _writes.AskAsync(fragment, cancellationToken).ConfigureAwait(false)
            : await WriteAloneAsync(fragment, sync, cancellationToken).ConfigureAwait(false);
    }

    public async ValueTask SyncAsync(ReadOnlyMemory<FragmentTicket> tickets, CancellationToken cancellationToken = default)
    {
        if (tickets.IsEmpty)
            return;

        // A volume is synced up to its furthest ticket; the others say no more.
        Dictionary<(long Volume, ulong Generation), long> ends = [];
        int ordinal = (int)(tickets.Span[0].EndOffset >> OrdinalShift);
        foreach (FragmentTicket ticket in tickets.Span)
        {
            if ((int)(ticket.EndOffset >> OrdinalShift) != ordinal)
                throw new DriveUnavailableException(DriveId, "its node was started anew between the writes; whether the first are durable is not known");
            long end = ticket.EndOffset & ((1L << OrdinalShift) - 1);
            (long, ulong) volume = (ticket.VolumeId, ticket.Generation);
            ends[volume] = Math.Max(end, ends.GetValueOrDefault(volume));
        }

        foreach (KeyValuePair<(long Volume, ulong Generation), long>[] some in ends.Chunk(FragmentProtocol.MaxTicketsPerSync))
        {
            using FrameWriter frame = new();
            frame.Int32(some.Length);
            foreach (((long volume, ulong generation), long end) in some)
                FragmentCodec.WriteTicket(frame, new FragmentTicket(volume, generation, end));
            using RemoteAnswer answer = await SendAsync(FragmentRequest.Sync, frame, default, default, ordinal, cancellationToken).ConfigureAwait(false);
        }
    }

    public ValueTask ReadAsync(FragmentAddress address, int offsetBytes, Memory<byte> destination, CancellationToken cancellationToken = default)
        => ReadAsync(FragmentRequest.Read, address, offsetBytes, destination, cancellationToken);

    public ValueTask ReadOnceAsync(FragmentAddress address, int offsetBytes, Memory<byte> destination, CancellationToken cancellationToken = default)
        => ReadAsync(FragmentRequest.ReadOnce, address, offsetBytes, destination, cancellationToken);

    private async ValueTask ReadAsync(FragmentRequest request, FragmentAddress address, int offsetBytes, Memory<byte> destination, CancellationToken cancellationToken)
    {
        if (!FragmentCodec.IsReadable(address.PayloadBytes, offsetBytes, destination.Length) || address.PayloadBytes > FragmentProtocol.MaxPayloadBytes)
            throw new ArgumentException("A read covers whole chunks of the payload.", nameof(offsetBytes));
        using FrameWriter frame = new();
        FragmentCodec.WriteRead(frame, address, offsetBytes, destination.Length);
        using RemoteAnswer answer = await SendAsync(request, frame, default, destination, null, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>False: what another node has is never within reach at once.</summary>
    public bool TryRead(FragmentAddress address, int offsetBytes, Span<byte> destination) => false;

    public async ValueTask<FragmentDetails?> StatAsync(FragmentKey key, CancellationToken cancellationToken = default)
    {
        using FrameWriter frame = new();
        FragmentCodec.WriteKey(frame, key);
        return await AskAsync(FragmentRequest.Stat, frame, FragmentCodec.ReadDetails, cancellationToken).ConfigureAwait(false);
    }

    public async ValueTask DeleteAsync(ReadOnlyMemory<FragmentKey> keys, CancellationToken cancellationToken = default)
    {
        cancellationToken.ThrowIfCancellationRequested();
        for (int at = 0; at < keys.Length; at += FragmentProtocol.MaxKeysPerDelete)
        {
            // Given up at once, though the request goes on: it holds no memory of anybody's pool.
            ReadOnlyMemory<FragmentKey> some = keys.Slice(at, Math.Min(FragmentProtocol.MaxKeysPerDelete, keys.Length - at));
            await _deletes.AskAsync(some, cancellationToken).AsTask().WaitAsync(cancellationToken).ConfigureAwait(false);
        }
    }

    public async ValueTask<FragmentPage> ListAsync(IReadOnlySet<int>? groups, FragmentKey? after, int maxEntries, CancellationToken cancellationToken = default)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(maxEntries, 1);
        if (groups?.Count > FragmentProtocol.MaxGroupsPerList)
            throw new ArgumentException($"A listing names at most {FragmentProtocol.MaxGroupsPerList} groups.", nameof(groups));
        using FrameWriter frame = new();
        FragmentCodec.WriteListing(frame, groups, after, Math.Min(maxEntries, FragmentProtocol.MaxEntriesPerList));
        return await AskAsync(FragmentRequest.List, frame, FragmentCodec.ReadPage, cancellationToken).ConfigureAwait(false);
    }

    public async ValueTask<DriveStatistics> GetStatisticsAsync(CancellationToken cancellationToken = default)
    {
        using FrameWriter frame = new();
        return await AskAsync(FragmentRequest.Statistics, frame, FragmentCodec.ReadStatistics, cancellationToken).ConfigureAwait(false);
    }

    /// <inheritdoc/>
    public async ValueTask<IReadOnlyList<SealedVolume>> ListSealedVolumesAsync(CancellationToken cancellationToken = default)
    {
        List<SealedVolume> volumes = [];
        while (true)
        {
            long after = volumes is [.., var last] ? last.VolumeId : -1;
            using FrameWriter frame = new();
            frame.Int64(after);
            SealedVolume[] some;
            try
            {
                some = await AskAsync(FragmentRequest.Volumes, frame, body => FragmentCodec.ReadVolumes(body, after), cancellationToken).ConfigureAwait(false);
            }
            catch (UnknownOperationException)
            {
                return [];
            }

            volumes.AddRange(some);
            if (some.Length < FragmentProtocol.MaxVolumesPerList)
                return volumes;
        }
    }

    /// <summary>
    /// Has the node do it, and asks how far it is. It takes up to hours, so a node that does not answer is asked again as long as it goes on without. Given up by the caller, it ends at the node a
    /// minute later.
    /// </summary>
    public async ValueTask<VolumeVerification?> VerifyVolumeAsync(long volumeId, long bytesPerSecond = 0, CancellationToken cancellationToken = default)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(bytesPerSecond);
        VerificationQuestion question = new(RemoteStorageNode.NewNonce(), volumeId, bytesPerSecond, 0);
        List<FragmentEntry> damaged = [];
        long answeredAt = _node.Time.GetTimestamp();
        for (TimeSpan pause = ShortestPause; ; pause = pause * 2 < LongestPause ? pause * 2 : LongestPause)
        {
            try
            {
                using FrameWriter frame = new();
                FragmentCodec.WriteQuestion(frame, question with { FirstDamaged = damaged.Count });
                (VerificationState state, VolumeVerification? result, int inAll) = await AskAsync(
                    FragmentRequest.VerifyVolume, frame, body => FragmentCodec.ReadVerification(body, volumeId), cancellationToken).ConfigureAwait(false);
                answeredAt = _node.Time.GetTimestamp();
                if (state == VerificationState.NoVolume)
                    return null;
                if (state == VerificationState.Done)
                {
                    damaged.AddRange(result!.Damaged);
                    if (result.Damaged.Count == 0 || damaged.Count >= Math.Min(inAll, VolumeVerifications.MaxDamaged))
                        return result with { Damaged = damaged };
                    continue;
                }
            }
            catch (DriveUnavailableException e) when (e.Cause is DriveUnavailableCause.NoAnswer or DriveUnavailableCause.NoRoom && _node.Time.GetElapsedTime(answeredAt) < VolumeVerifications.Patience * 0.75)
            {
                // The verification goes on.
            }

            await Task.Delay(pause, _node.Time, cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Nothing: the drive belongs to its <see cref="RemoteStorageNode"/>.</summary>
    public ValueTask DisposeAsync() => default;

    /// <summary>By the node, when no request can succeed any more: waits for those under way.</summary>
    internal Task CloseAsync() => Task.WhenAll(_writes.CloseAsync(), _deletes.CloseAsync());

    /// <summary>The node remembers every request to delete for minutes, and has room for so many: those of many extents share one.</summary>
    private async ValueTask<(bool, Exception?)[]> DeleteManyAsync(ReadOnlyMemory<FragmentKey>[] deletes)
    {
        int count = deletes.Sum(keys => keys.Length);
        using FrameWriter frame = new(4 + (count * FragmentKey.SizeBytes));
        frame.Int32(count);
        foreach (ReadOnlyMemory<FragmentKey> keys in deletes)
        {
            foreach (FragmentKey key in keys.Span)
                FragmentCodec.WriteKey(frame, key);
        }

        using RemoteAnswer answer = await SendAsync(FragmentRequest.Delete, frame, default, default, null, CancellationToken.None).ConfigureAwait(false);
        return new (bool, Exception?)[deletes.Length];
    }

    private async ValueTask<(FragmentTicket, Exception?)[]> WriteManyAsync(FragmentWrite[] fragments)
    {
        TransportMetrics.BatchFragments.Record(fragments.Length);
        return fragments.Length == 1
            ? [(await WriteAloneAsync(fragments[0], sync: true, CancellationToken.None).ConfigureAwait(false), null)]
            : await WriteTogetherAsync(fragments).ConfigureAwait(false);
    }

    private async ValueTask<FragmentTicket> WriteAloneAsync(FragmentWrite fragment, bool sync, CancellationToken cancellationToken)
    {
        using FrameWriter frame = new(2048);
        frame.Byte(sync ? (byte)1 : (byte)0);
        FragmentCodec.WriteFragment(frame, fragment);
        using RemoteAnswer answer = await SendAsync(FragmentRequest.Write, frame, new RequestPayload(fragment.Payload), default, null, cancellationToken).ConfigureAwait(false);
        try
        {
            return ReadTicket(answer);
        }
        catch (FrameException e)
        {
            throw Unreadable(e);
        }

        static FragmentTicket ReadTicket(RemoteAnswer answer)
        {
            FrameReader reader = new(answer.Body);
            FragmentTicket ticket = Own(FragmentCodec.ReadTicket(ref reader), answer.Ordinal);
            reader.RequireEnd();
            return ticket;
        }
    }

    /// <summary>Several synced writes in one request; the outcomes in the same order.</summary>
    private async ValueTask<(FragmentTicket Ticket, Exception? Error)[]> WriteTogetherAsync(FragmentWrite[] fragments)
    {
        using FrameWriter frame = new(fragments.Length * 256);
        var payloads = new ReadOnlyMemory<byte>[fragments.Length];
        int total = 0;
        frame.Int32(fragments.Length);
        for (int i = 0; i < fragments.Length; i++)
        {
            FragmentCodec.WriteFragment(frame, fragments[i]);
            payloads[i] = fragments[i].Payload;
            total += payloads[i].Length;
        }

        using RemoteAnswer answer = await SendAsync(
            FragmentRequest.WriteBatch, frame, new RequestPayload(default, payloads, total), default, null, CancellationToken.None).ConfigureAwait(false);
        try
        {
            return ReadOutcomes(answer);
        }
        catch (FrameException e)
        {
            throw Unreadable(e);
        }

        (FragmentTicket, Exception?)[] ReadOutcomes(RemoteAnswer answer)
        {
            FrameReader reader = new(answer.Body);
            if (reader.Count(FragmentProtocol.MaxBatchFragments, 2) != fragments.Length)
                throw new FrameException("The answer is not one to as many writes.");
            var outcomes = new (FragmentTicket, Exception?)[fragments.Length];
            foreach (ref (FragmentTicket Ticket, Exception? Error) outcome in outcomes.AsSpan())
            {
                var status = (FragmentStatus)reader.UInt16();
                outcome = status == FragmentStatus.Ok
                    ? (Own(FragmentCodec.ReadTicket(ref reader), answer.Ordinal), null)
                    : (default, FragmentErrors.Read(status, ref reader, DriveId, _node.Address.Authority));
            }

            reader.RequireEnd();
            return outcomes;
        }
    }

    private static FragmentTicket Own(FragmentTicket ticket, int ordinal) => ticket.EndOffset is >= 0 and < 1L << OrdinalShift
        ? ticket with { EndOffset = ticket.EndOffset | ((long)ordinal << OrdinalShift) }
        : throw new FrameException("The ticket cannot be.");

    /// <summary>What would be refused by the drive, and by the node before it, is refused here.</summary>
    private static void Require(in FragmentWrite fragment)
    {
        if (fragment.Payload.Length != fragment.Scheme.ShardBytes(fragment.BlockLengthBytes))
            throw new ArgumentException("The payload has not the length that the scheme gives a shard of this block.", nameof(fragment));
        if (fragment.Payload.Length > FragmentProtocol.MaxPayloadBytes || fragment.ChunkChecksums.Length != FragmentProtocol.ChunksOf(fragment.Payload.Length))
            throw new ArgumentException("A payload has at most 1 MiB and a checksum for each of its chunks.", nameof(fragment));
        if (fragment.Descriptor.KeyUtf8.Length > ExtentDescriptor.MaxKeyBytes || fragment.Descriptor.PartNumber is < 0 or > ushort.MaxValue)
            throw new ArgumentException("The descriptor's key or part number is out of range.", nameof(fragment));
        if (fragment.BlockSizeBytes > FragmentProtocol.MaxBlockBytes || fragment.BlockLengthBytes > fragment.BlockSizeBytes || fragment.Block < 0
            || fragment.Shard is < 0 or >= Scheme.MaxShards || fragment.Descriptor.PlacementGroup < 0)
        {
            throw new ArgumentException("Block, shard or placement group is out of range.", nameof(fragment));
        }
    }

    private async ValueTask<RemoteAnswer> SendAsync(
        FragmentRequest request, FrameWriter frame, RequestPayload payload, Memory<byte> destination, int? tickets, CancellationToken cancellationToken)
    {
        if (!_turns.Wait(0, CancellationToken.None))
            await WaitForTurnAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            return await _node.SendAsync(request, DriveId, frame, payload, destination, tickets, cancellationToken).ConfigureAwait(false);
        }
        finally
        {
            _turns.Release();
        }
    }

    private async ValueTask WaitForTurnAsync(CancellationToken cancellationToken)
    {
        CancellationToken lost = _node.Lost;
        if (_node.UnreachableReason is { } reason)
            throw _node.Unavailable(DriveId, reason, cause: DriveUnavailableCause.NoAnswer);
        using var limit = new CancellationTokenSource(_node.Options.IdleTimeout, _node.Time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(limit.Token, lost, cancellationToken);
        try
        {
            await _turns.WaitAsync(either.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            throw _node.Unavailable(
                DriveId, _node.UnreachableReason ?? $"{_node.Options.MaxRequestsPerDrive} requests have waited for it for {_node.Options.IdleTimeout.TotalSeconds:0.###} s", cause: DriveUnavailableCause.NoAnswer);
        }
        catch (OperationCanceledException)
        {
            throw new OperationCanceledException(cancellationToken);
        }
    }

    private async ValueTask<T> AskAsync<T>(FragmentRequest request, FrameWriter frame, Func<ReadOnlySpan<byte>, T> read, CancellationToken cancellationToken)
    {
        using RemoteAnswer answer = await SendAsync(request, frame, default, default, null, cancellationToken).ConfigureAwait(false);
        try
        {
            return read(answer.Body);
        }
        catch (FrameException e)
        {
            throw Unreadable(e);
        }
    }

    private DriveUnavailableException Unreadable(FrameException e) => new(DriveId, $"its node {_node.Address.Authority} gives answers that cannot be: {e.Message}", e);
}
