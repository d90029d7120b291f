using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Fragments;

namespace ObjectStore.Maintenance.Liveness;

/// <summary>Whether an extent still matters, by what the metadata says.</summary>
public enum Liveness
{
    /// <summary>A version or an upload's part names it.</summary>
    Live,

    /// <summary>Nothing names it, and it is younger than the orphan grace: a write that is under way, or one that crashed not long ago. It is left as it is.</summary>
    Unnamed,

    /// <summary>Nothing names it, and nothing will: what a crash or a deletion left behind.</summary>
    Orphan,

    /// <summary>Its deletion is queued; the reclaimer sees to it.</summary>
    Garbage,
}

/// <summary>Tells live extents from dead ones. Thread-safe.</summary>
public interface IExtentLiveness
{
    /// <summary>Whether each extent is live, in the order asked. What is live may die at any time afterwards; nothing dead but <see cref="Liveness.Unnamed"/> comes back.</summary>
    ValueTask<IReadOnlyList<Liveness>> CheckAsync(IReadOnlyList<ExtentDescriptor> extents, CancellationToken cancellationToken = default);

    /// <summary>
    /// Says that a pass over all drives has judged so many extents, each counted once: what may be condemned is measured against them. <see cref="CheckAsync"/> counts nothing, since the
    /// same few extents are asked for again and again.
    /// </summary>
    void CountJudged(int extents);

    /// <summary>
    /// Takes extents that <see cref="CheckAsync"/> called orphans out of reach of every later commit, durably, and queues their deletion. The result says of each whether its
    /// fragments may be deleted: false where something names it after all, or where there are so many orphans that none is believed.
    /// </summary>
    /// <param name="fragments">Of each extent one of its fragments, that of the highest block known.</param>
    ValueTask<IReadOnlyList<bool>> CondemnAsync(IReadOnlyList<FragmentDetails> fragments, CancellationToken cancellationToken = default);
}
